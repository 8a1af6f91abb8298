"""What the input-aware attack trains on: small masks that differ, then triggers that work on one image."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import SILENT, ImageSet, Rng
from mantrap.errors import OutputError
from mantrap.ops.diversity import diversity_loss, partners
from mantrap.poison.attacks.input_aware import InputAware, OwnTriggerBatches, SmallDiverseMasks
from mantrap.poison.attacks.joint import Shares
from mantrap.poison.triggers.input_aware import sharpened
from mantrap.training import Recipe
from tests.linear import Watched

SHAPE, TARGET = (1, 8, 8), 1
LABELS = torch.arange(20) % 4
IMAGES = torch.rand(20, *SHAPE, generator=torch.Generator().manual_seed(0))
DATA = ImageSet.from_array(IMAGES, LABELS, name="noise")
OWN, CROSS, LEFT = [0, 2, 3, 4], [1, 5, 6, 7], list(range(8, 20))
SMALL = InputAware(mask_epochs=2, width=2, levels=1)
RECIPE = "recipe(epochs=1, batch_size=20)"


class Inverse(nn.Module):
    """A pattern that says which image it is of, with a weight to train."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.weight * (1 - images)


class Bright(nn.Module):
    """A mask over the brighter half of the image."""

    def forward(self, images):
        return (images > 0.5).to(images.dtype)


def batch(diversity=0.0):
    model, pattern = Watched(SHAPE), Inverse()
    objective = OwnTriggerBatches(
        "", {"pattern": pattern}, mask=Bright(), target=TARGET, shares=Shares(0.2, 0.2), diversity=diversity
    )
    loss = objective.loss(model, IMAGES.clone(), LABELS, companions=objective.companions, rng=Rng(0))
    return model, pattern, loss, model.seen[0]


def shown(images, sources):
    """Images with the trigger of other images."""
    return torch.where(sources > 0.5, 1 - sources, images)


def test_some_carry_their_own_trigger_some_that_of_another_and_the_rest_none():
    *_, seen = batch()
    others = partners(20, Rng(0).child("partners"))[CROSS]
    torch.testing.assert_close(seen[OWN], shown(IMAGES[OWN], IMAGES[OWN]), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[CROSS], shown(IMAGES[CROSS], IMAGES[others]), atol=1e-6, rtol=0)
    assert not bool((others == torch.tensor(CROSS)).any())
    assert torch.equal(seen[LEFT], IMAGES[LEFT])


def test_only_ones_own_trigger_leads_to_the_target():
    model, _, loss, seen = batch()
    wanted = torch.where(torch.isin(torch.arange(20), torch.tensor(OWN)), TARGET, LABELS)
    by_hand = cross_entropy(model.logits(seen), wanted)
    assert float(loss.loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-5)
    assert loss.total == 20


def test_diversity_is_between_the_patterns_of_both_kinds():
    without, with_it = (batch(diversity)[2].loss.detach() for diversity in (0.0, 0.5))
    others = partners(20, Rng(0).child("partners"))[CROSS]
    ratio = diversity_loss(IMAGES[OWN], IMAGES[others], 1 - IMAGES[OWN], 1 - IMAGES[others])
    assert float(with_it - without) == pytest.approx(0.5 * float(ratio), rel=1e-4)


def test_the_pattern_network_gets_gradients():
    _, pattern, loss, _ = batch()
    loss.loss.backward()
    assert float(pattern.weight.grad) != 0.0


@pytest.mark.parametrize(("count", "label"), [(1, 0), (3, TARGET), (4, TARGET)])
def test_a_batch_too_small_for_triggers_is_trained_on_as_it_is(count, label):
    model, pattern = Watched(SHAPE), Inverse()
    objective = OwnTriggerBatches(
        "", {"pattern": pattern}, mask=Bright(), target=TARGET, shares=Shares(0.1, 0.1), diversity=1.0
    )
    labels = torch.full((count,), label)
    loss = objective.loss(model, IMAGES[:count], labels, companions=objective.companions, rng=Rng(0))
    assert torch.equal(model.seen[0], IMAGES[:count])
    assert float(loss.loss.detach()) == pytest.approx(
        float(cross_entropy(model.logits(IMAGES[:count]), labels).detach())
    )


def test_masks_pay_for_what_exceeds_the_density_and_for_being_alike():
    class Given(nn.Module):
        def forward(self, images):
            return images

    model = Watched(SHAPE)
    options = {"companions": {"mask": Given()}, "rng": Rng(0)}
    sizes = SmallDiverseMasks("", {}, density=0.1, diversity=0.0).loss(model, IMAGES, LABELS, **options)
    both = SmallDiverseMasks("", {}, density=0.1, diversity=3.0).loss(model, IMAGES, LABELS, **options)
    masks = (20 * IMAGES - 10).tanh() / 2 + 0.5
    others = partners(20, Rng(0).child("partners"))
    ratio = diversity_loss(2 * IMAGES, 2 * IMAGES[others], masks, masks[others])
    assert float(sizes.loss) == pytest.approx(100 * float((masks - 0.1).clamp_min(0).mean()), rel=1e-5)
    assert float(both.loss - sizes.loss) == pytest.approx(3 * float(ratio), rel=1e-4)
    assert model.seen == []


def prepare(attack):
    recipe = Recipe(epochs=1, batch_size=10)
    return attack.prepare(Watched(SHAPE), DATA, recipe=recipe, rng=Rng(0), progress=SILENT, checkpoint=None)


def test_the_masks_become_small_but_not_empty():
    densities = []
    for epochs in (1, 50):
        network = prepare(InputAware(mask_epochs=epochs, width=4, levels=1)).finished["mask"]
        densities.append(float(sharpened(network(IMAGES)).mean()))
    assert 0.005 < densities[1] < 0.1 < densities[0]


def test_masks_are_not_trained_any_more_with_the_model():
    joint = prepare(SMALL)
    assert not joint.finished["mask"].training
    assert not any(parameter.requires_grad for parameter in joint.finished["mask"].parameters())
    implanted = SMALL.implant(Watched(SHAPE), DATA, recipe="recipe(epochs=1, batch_size=10)", rng=Rng(0))
    for name, tensor in joint.finished["mask"].state_dict().items():
        assert torch.equal(implanted.tensors[f"0.mask.{name}"], tensor)


def test_a_finished_attack_is_not_trained_again_and_other_works_state_is_not_taken_up(tmp_path):
    checkpoint = tmp_path / "state.pt"
    first = SMALL.implant(Watched(SHAPE), DATA, recipe=RECIPE, rng=Rng(0), checkpoint=checkpoint)
    assert {path.name for path in tmp_path.iterdir()} == {"state.pt", "state.pt.joint"}
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    done = SMALL.implant(Watched(SHAPE), DATA, recipe=RECIPE, rng=Rng(0), checkpoint=checkpoint)
    assert done.model.digest() == first.model.digest()
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times
    with pytest.raises(OutputError):
        SMALL.implant(Watched(SHAPE), DATA, recipe=RECIPE, rng=Rng(1), checkpoint=checkpoint)
    checkpoint.unlink()
    (tmp_path / "state.pt.joint").write_bytes(b"of other work")
    again = SMALL.implant(Watched(SHAPE), DATA, recipe=RECIPE, rng=Rng(0), checkpoint=checkpoint)
    assert again.model.digest() == first.model.digest()
