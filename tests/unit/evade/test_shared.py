"""What many images share: a universal perturbation, and an adversarial patch whose best picture is known."""

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, Goal, ImageSet, Problem, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.evade import AdversarialPatch, Universal, perturb
from mantrap.evade.adversarial_patch import places
from mantrap.evade.shared import CLIPPED, shared_climb
from mantrap.ops.pgd import Ascent, away
from mantrap.ops.universal import universal_perturbation
from tests.planted import Planted
from tests.rivals import misled

PLANTED = Planted(shape=(1, 12, 10))
GIVEN = PLANTED.images(6, "shared")
PIXELS, LABELS = GIVEN.images(), GIVEN.labels
SETTINGS = Universal(eps=0.15, steps=20, step=0.1, batch_size=10)


def universal(settings=SETTINGS, **keywords):
    return perturb(settings, PLANTED.model(), PIXELS, LABELS, rng=Rng(0), **keywords).images


class TestUniversal:
    def test_all_images_change_by_the_same(self):
        change = universal() - PIXELS

        assert float(change.abs().max()) > 0.1
        torch.testing.assert_close(change, change[:1].expand_as(change), atol=1e-6, rtol=0)

    def test_it_is_the_perturbation_that_is_learned_from_the_images(self):
        delta = universal_perturbation(
            PLANTED.model(),
            ImageSet.from_array(PIXELS, LABELS),
            climb=lambda *given: away(*given).clamp(max=9),
            ascent=Ascent(eps=0.15, step=0.015, steps=20),
            batch_size=10,
            rng=Rng(0).child("away"),
        )

        torch.testing.assert_close(universal(), (PIXELS + delta).clamp(0, 1))

    def test_those_of_one_target_share_one_and_get_there(self):
        targets = (LABELS % 2 == 0).long() + 3
        chosen = LABELS < 3
        made = perturb(
            Universal(eps=0.3, steps=30),
            PLANTED.model(),
            PIXELS[chosen],
            LABELS[chosen],
            goal=Goal(targets[chosen]),
            rng=Rng(0),
        ).images
        change = made - PIXELS[chosen]
        inside = ((made > 0) & (made < 1)).all(0)

        assert misled(PLANTED.model(), made, targets[chosen]) == 0
        for target in (3, 4):
            some = change[targets[chosen] == target][:, inside]
            torch.testing.assert_close(some, some[:1].expand_as(some), atol=1e-6, rtol=0)
        assert float((change[0] - change[1]).abs().max()) > 0.1

    def test_no_more_are_drawn_for_a_step_than_there_are(self):
        made = perturb(Universal(steps=3), PLANTED.model(), PIXELS, LABELS, rng=Rng(0))

        assert made.cost.forward == 3 * len(PIXELS)

    def test_far_gone_images_do_not_count_for_more(self):
        problem = Problem(PLANTED.model(), PIXELS, LABELS)
        with problem.model.frozen():
            found = shared_climb(problem)(problem.model, PIXELS, (LABELS + 1) % 5)
            plain = away(problem.model, PIXELS, (LABELS + 1) % 5)

        assert float(plain.max()) > CLIPPED
        assert float(found.max()) == CLIPPED

    def test_a_batch_of_none_is_refused(self):
        with pytest.raises(SpecError, match="batch_size of at least 1"):
            Universal(batch_size=0)


KEY = torch.tensor([1.0, -1.0, 1.0])[:, None, None]


class Keyed(nn.Module):
    """The second class's logit rises with the first and the third colour and falls with the second, wherever these are;
    the third class's does the contrary."""

    def forward(self, images):
        fits = ((images - 0.5) * KEY).flatten(1).sum(1)
        return torch.stack([torch.full_like(fits, 2.5), fits - 4, -fits - 4], dim=1)


def keyed():
    return Classifier(Keyed(), input_shape=(3, 8, 9), num_classes=3)


GREY = 0.5 + 0.02 * torch.rand(40, 3, 8, 9, generator=torch.Generator().manual_seed(0))
NONE = torch.zeros(40, dtype=torch.int64)
PATCH = AdversarialPatch(size=(2, 3), steps=30, rate=0.1, batch_size=40)


def patched(settings=PATCH, **keywords):
    return perturb(settings, keyed(), GREY, NONE, rng=Rng(0), **keywords).images


def places_in(images):
    """Which pixels are none of the images' own, [n, h, w]."""
    return (images != GREY).any(1)


class TestPatch:
    @pytest.mark.parametrize("goal", [Goal(), Goal(NONE + 1)], ids=["away", "towards"])
    def test_it_is_the_picture_that_fits_the_key(self, goal):
        made = patched(goal=goal)
        where = places_in(made)

        assert misled(keyed(), made, NONE) == 100
        assert where.flatten(1).sum(1).tolist() == [6] * 40
        assert torch.equal(made, torch.where(where[:, None], (KEY > 0).float(), GREY))

    def test_it_lies_at_places_drawn_evenly_from_edge_to_edge(self):
        corners = places(PATCH, torch.zeros(4000, 1, 8, 9), Rng(1))
        counts = torch.bincount(corners[:, 0] * 7 + corners[:, 1], minlength=49)

        assert corners.amin(0).tolist() == [0, 0]
        assert corners.amax(0).tolist() == [6, 6]
        assert 40 < int(counts.min()) <= int(counts.max()) < 130

    def test_images_have_places_of_their_own(self):
        assert len(places_in(patched()).flatten(1).unique(dim=0)) > 20

    def test_it_learns_one_picture_at_ever_new_places_of_ever_new_images(self):
        model, seen = keyed(), []
        model.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
        perturb(PATCH, model, GREY, NONE, rng=Rng(0))
        covered = [(batch == 0.5).all(1) for batch in seen[:1]] + [
            (batch - 0.5).abs().amin(1) > 0.05 for batch in seen[1:3]
        ]

        assert all(cover.flatten(1).sum(1).tolist() == [6] * 40 for cover in covered)
        assert all(len(cover.flatten(1).unique(dim=0)) > 20 for cover in covered)
        assert not torch.equal(covered[0], covered[1])
        assert not torch.equal(covered[1], covered[2])
        corners = [batch[:, :, 0, 0] for batch in seen[1:3]]
        assert not torch.equal(*corners)

    def test_those_of_one_target_share_one(self):
        targets = torch.tensor([1, 2]).repeat(20)

        assert misled(keyed(), patched(goal=Goal(targets)), targets) == 0

    @pytest.mark.parametrize("size", [(9, 1), (1, 10)])
    def test_it_must_fit(self, size):
        with pytest.raises(UsageError, match=f"fits into 8x9 pixels, got {size[0]}x{size[1]}"):
            patched(AdversarialPatch(size=size))

    @pytest.mark.parametrize("bad", [{"size": (0, 3)}, {"steps": 0}, {"rate": 0.0}, {"batch_size": 0}], ids=str)
    def test_settings_out_of_range_are_refused(self, bad):
        with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
            AdversarialPatch(**bad)
