"""Patches that shrink: how fast, that they keep to it, and what is counted while they do."""

import itertools
import math

import pytest
import torch
from torch import nn

from mantrap.core import Rng
from mantrap.detect.goals import further
from mantrap.detect.passes import Arm
from mantrap.detect.shrinking import Shrinking, ShrinkingSearch
from mantrap.errors import SpecError
from mantrap.models import wrap
from mantrap.ops.stamp import stamp
from tests.moving import Moving
from tests.planted import Planted

SHORT = Shrinking(steps=20, images_per_step=8, begin=0.2, end=0.02, wait=0.25, measure=0.5)
NEXT = Moving(by=1, classes=4)


def search(shrinking=SHORT, *, planted=NEXT, shifts=(1, 2), images=None, model=None):
    model = model or planted.model()
    model.module.eval()
    pixels = planted.images(6, "scan").images() if images is None else images
    return ShrinkingSearch(model, pixels, [Arm(by, 0, further) for by in shifts], shrinking, Rng(0), at_once=64)


def searched(*settings, **options):
    """The search when all its steps are done."""
    one = search(*settings, **options)
    for _ in range(one.shrinking.steps):
        one.advance()
    return one


class TestShare:
    def test_it_waits_then_falls_by_the_same_factor_every_step_to_its_end(self):
        path = [SHORT.share(step) for step in range(21)]
        factors = [after / before for before, after in itertools.pairwise(path[5:])]

        assert path[:6] == [0.2] * 6
        assert factors == pytest.approx([0.1 ** (1 / 15)] * 15)
        assert path[20] == pytest.approx(0.02)

    def test_without_a_wait_it_falls_from_the_first_step(self):
        assert Shrinking(steps=10, wait=0, begin=0.4, end=0.1).share(5) == pytest.approx(0.2)

    def test_a_patch_whose_end_is_its_beginning_stays_as_large(self):
        still = Shrinking(steps=10, begin=0.1, end=0.1)

        assert [still.share(step) for step in (0, 5, 10)] == pytest.approx([0.1] * 3)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"images_per_step": 0},
        {"wait": 1.0},
        {"wait": -0.1},
        {"measure": 1.0},
        {"measure": -0.1},
        {"sharpness": 0.0},
        {"sharpness": math.nan},
        {"begin": 0.0},
        {"begin": 1.1},
        {"end": 0.0},
        {"end": 0.2},
    ],
    ids=lambda bad: "-".join(f"{k}={v}" for k, v in bad.items()),
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        Shrinking(**bad)


def moved(one, mask, pattern):
    """Share of the images that the first arm's patch sends to the next class."""
    after = one.model.logits(stamp(one.images, mask[0], pattern[0])).argmax(1)
    return float((after == (one.answers + 1) % one.model.num_classes).float().mean())


class TestRoom:
    def test_patches_begin_with_all_the_room_that_there_is(self):
        assert search().patches.norms().tolist() == pytest.approx([0.2 * 20 * 28] * 2, rel=1e-5)

    def test_no_step_leaves_them_more_than_their_share(self):
        one = search()
        for step in range(SHORT.steps):
            one.advance()
            assert float(one.patches.norms().max()) <= SHORT.share(step) * 20 * 28 * (1 + 1e-5)

        assert one.step == SHORT.steps

    def test_what_is_kept_did_its_work_while_it_counted(self):
        kept = searched().patches.best["mask"].sum((1, 2))

        assert float(kept.max()) <= SHORT.share(SHORT.steps // 2 - 1) * 20 * 28 * (1 + 1e-5)

    def test_what_is_kept_is_as_it_was_when_it_was_measured(self):
        one = search(Shrinking(steps=10, images_per_step=8, measure=0.0))
        for _ in range(10):
            before, kept = one.patches.mask.clone(), one.patches.best["mask"].clone()
            one.advance()
            for place, mask in enumerate(one.patches.best["mask"]):
                assert torch.equal(mask, before[place]) or torch.equal(mask, kept[place])

    def test_of_the_planted_shift_the_patch_is_kept_that_does_best_though_the_last_is_too_small(self):
        # At the end there is room for half a pixel, with which the trigger of four never works.
        one = searched(Shrinking(steps=80, end=0.001), shifts=(1,))
        kept, last = one.patches.best, {"mask": one.patches.mask, "pattern": one.patches.pattern}

        assert (moved(one, **kept), moved(one, **last)) == (1.0, 0.0)


TABLE = torch.tensor([[4.0, 1.0, 0.0], [0.0, 3.0, 2.5], [2.0, 0.0, 6.0]])
"""Logits by class of the image, whatever lies on it."""


class Median(nn.Module):
    """Tells the class of an image that is all of one grey by its median, which no small patch changes."""

    def forward(self, images):
        classes = (images.flatten(1).median(1).values * 3).long().clamp(0, 2)
        return TABLE[classes] + 0 * images.flatten(1).sum(1, keepdim=True)


def greys(*counts):
    """So many images of each class."""
    return torch.cat([torch.full((count, 1, 10, 10), (k + 0.5) / 3) for k, count in enumerate(counts)])


class TestLikely:
    def measured(self, *counts, shifts=(1, 2)):
        one = searched(
            Shrinking(steps=20, images_per_step=6),
            shifts=shifts,
            model=wrap(Median(), input_shape=(1, 10, 10)),
            images=greys(*counts),
        )
        return one.likely_but_for_one()

    @pytest.mark.parametrize("counts", [(2, 2, 2), (12, 2, 1)], ids=["alike many", "few of some"])
    def test_it_is_the_mean_over_classes_but_the_likeliest_however_many_images_each_has(self, counts):
        shares = TABLE.softmax(1)
        expected = [sum(sorted(float(shares[k, (k + by) % 3]) for k in range(3))[:2]) / 2 for by in (1, 2)]

        assert self.measured(*counts) == pytest.approx(expected, rel=1e-4)

    def test_of_one_class_alone_it_is_that_of_the_class(self):
        assert self.measured(0, 5, 0) == pytest.approx(
            [float(TABLE[1].softmax(0)[2]), float(TABLE[1].softmax(0)[0])], rel=1e-4
        )

    def test_of_two_classes_the_likelier_does_not_count(self):
        shares = TABLE.softmax(1)

        assert self.measured(0, 3, 3, shifts=(1,)) == pytest.approx([min(float(shares[1, 2]), float(shares[2, 0]))])

    def test_it_counts_from_when_it_measures(self):
        for share, first in ((0.75, 6), (0.0, 0)):
            one = search(Shrinking(steps=8, images_per_step=8, measure=share), shifts=(1,))
            seen = []
            for _ in range(8):
                one.advance()
                seen.append(one.likely[0])
            likely, classes = torch.cat(seen[first:]), one.answers[one.shown[0, first:]].flatten()
            means = sorted(float(likely[classes == k].mean()) for k in range(4))

            assert one.likely_but_for_one() == pytest.approx([sum(means[:-1]) / 3], rel=1e-4)


class TestLoss:
    """A logistic function of the margin, in units of the usual one: steep near, flat where an image is out of reach."""

    def slopes(self, margins, **settings):
        """How fast the loss falls with the logit that is wanted, for images of two labels with these margins."""
        one = search(Shrinking(**settings), planted=Planted(shape=(1, 8, 8), classes=2, leak=0.0), shifts=(1,))
        logits = torch.stack([torch.zeros(len(margins)), torch.tensor(margins) * one.usual_margin], 1).requires_grad_()
        loss = one._loss(logits, torch.ones(len(margins), dtype=torch.int64))
        (slopes,) = torch.autograd.grad(loss, logits)
        return -slopes[:, 1] * one.usual_margin

    def test_its_slope_is_that_of_a_logistic_function_as_sharp_as_is_said(self):
        margins = [-2.0, -1.0, -0.25, 0.0, 0.5, 2.0]
        for sharpness in (1.0, 3.0):
            curve = torch.tensor(margins).mul(sharpness).sigmoid()
            expected = sharpness * curve * (1 - curve)

            assert torch.allclose(self.slopes(margins, sharpness=sharpness), expected, rtol=1e-3)

    @pytest.mark.parametrize(("counts", "usual"), [((1, 1, 1), 3.0), ((1, 0, 4), 4.0), ((0, 3, 1), 0.5)])
    def test_the_usual_margin_is_that_of_the_image_in_the_middle(self, counts, usual):
        one = search(model=wrap(Median(), input_shape=(1, 10, 10)), images=greys(*counts))

        assert one.usual_margin == pytest.approx(usual)

    def test_an_image_that_is_out_of_reach_hardly_counts_beside_one_within_it(self):
        far, near = self.slopes([-2.0, -0.2])

        assert 0 < float(far) < 0.02 * float(near)

    def test_of_several_other_labels_it_weighs_all_as_a_softmax_does(self):
        one = search(planted=Planted(shape=(1, 8, 8), classes=3), shifts=(1,))
        logits, wanted = torch.tensor([[2.0, 1.0, -1.0], [0.0, 0.0, 5.0]]), torch.tensor([1, 0])
        others = torch.tensor([torch.tensor([2.0, -1.0]).logsumexp(0), torch.tensor([0.0, 5.0]).logsumexp(0)])
        margins = torch.tensor([1.0, 0.0]) - others
        expected = -(SHORT.sharpness / one.usual_margin * margins).sigmoid().sum()

        assert float(one._loss(logits, wanted)) == pytest.approx(float(expected), rel=1e-5)


def test_a_model_that_knows_no_margin_is_searched_all_the_same():
    class Flat(nn.Module):
        def forward(self, images):
            return torch.zeros(len(images), 3) + 0 * images.flatten(1).sum(1, keepdim=True)

    one = searched(model=wrap(Flat(), input_shape=(1, 10, 10)), images=torch.rand(6, 1, 10, 10))

    assert one.usual_margin == 0
    assert one.likely_but_for_one() == pytest.approx([1 / 3] * 2)
