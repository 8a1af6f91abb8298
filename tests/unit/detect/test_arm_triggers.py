"""What arms search for: each kind follows the slope of its own loss and stays where triggers can be."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import Rng
from mantrap.detect.arm_triggers import AdditionArms, PatchArms
from mantrap.detect.arms import ArmSearch
from mantrap.detect.passes import Arm
from mantrap.errors import SpecError
from mantrap.models import wrap
from mantrap.ops.stamp import stamp
from tests.planted import Planted

GREY = Planted(target=2)
ARMS = tuple(Arm(target, restart) for target in range(GREY.classes) for restart in range(2))


def search(settings, *, images=None):
    model = GREY.model()
    model.module.eval()
    pixels = GREY.images(8, "scan").images() if images is None else images
    return ArmSearch(model, pixels, ARMS, settings, Rng(0), at_once=24)


def losses(one, place, stamped):
    """The mean cross-entropy of an arm, and how many images reach its target."""
    logits = one.model.logits(stamped)
    wanted = torch.full((len(stamped),), ARMS[place].target)
    return cross_entropy(logits, wanted), (logits.argmax(1) == wanted).sum()


def test_the_slopes_of_patches_are_those_of_the_mean_cross_entropy():
    one = search(PatchArms(steps=6, warm_up=1 / 3))
    hits = one._look()
    for place in range(len(ARMS)):
        mask, pattern = (t[place].clone().requires_grad_() for t in (one.triggers.mask, one.triggers.pattern))
        loss, reached = losses(one, place, stamp(one.images[one.shown[place, 0]], mask, pattern))
        by_mask, by_pattern = torch.autograd.grad(loss, (mask, pattern))

        assert torch.allclose(one.triggers.mask_slope[place], by_mask, atol=1e-6)
        assert torch.allclose(one.triggers.pattern_slope[place], by_pattern, atol=1e-6)
        assert hits[place] == reached


def test_the_slopes_of_additions_are_those_of_the_mean_cross_entropy_inside_the_box():
    one = search(AdditionArms(steps=6, warm_up=1 / 3))
    one._look()
    for place in range(len(ARMS)):
        delta = one.triggers.delta[place].clone().requires_grad_()
        images = one.images[one.shown[place, 0]]
        moved = images + delta.detach()
        assert torch.equal(moved.clamp(0, 1), moved)
        loss, _ = losses(one, place, images + delta)

        assert torch.allclose(one.triggers.slope[place], torch.autograd.grad(loss, delta)[0], atol=1e-6)


def test_a_pixel_at_its_end_only_moves_back():
    one = search(AdditionArms(steps=6, warm_up=1 / 3), images=torch.zeros(8, *GREY.shape))
    one.triggers.delta.fill_(-0.2)
    slopes = torch.ones(len(ARMS), 8, *GREY.shape)
    slopes[:, :4] = -1.0
    one.triggers.note(slice(None), one.images.expand(len(ARMS), 8, *GREY.shape), slopes)

    assert bool((one.triggers.slope == -4).all())


def test_the_norm_of_a_patch_is_in_pixels_and_that_of_an_addition_is_l2():
    patches, additions = (search(kind(steps=2, warm_up=0)).triggers for kind in (PatchArms, AdditionArms))
    patches.mask.fill_(0.5)
    additions.delta.fill_(-0.5)

    assert patches.norms().tolist() == pytest.approx([0.5 * 12 * 16] * len(ARMS))
    assert additions.norms().tolist() == pytest.approx([0.5 * (12 * 16) ** 0.5] * len(ARMS))


@pytest.mark.parametrize("kind", [PatchArms, AdditionArms])
def test_a_norm_that_costs_much_shrinks_the_trigger(kind):
    settings = kind(steps=2, warm_up=0, **({"scale": 0.3} if kind is AdditionArms else {}))
    triggers = search(settings).triggers
    before = triggers.norms()
    for slope in ("slope", "mask_slope", "pattern_slope"):
        if hasattr(triggers, slope):
            getattr(triggers, slope).zero_()
    triggers.descend(torch.full((len(ARMS),), 100.0))

    assert bool((triggers.norms() < before).all())


def test_the_smallest_addition_to_a_linear_classifier_is_found():
    # Two classes with logits w x and -w x: every image crosses over when w delta makes up its margin, for which the
    # shortest way is along w, margin / |w| long.
    weight = torch.randn(2, 3, 4, generator=Rng(0).torch())
    module = nn.Sequential(nn.Flatten(), nn.Linear(24, 2, bias=False))
    module[1].weight.data.copy_(torch.stack([weight.flatten(), -weight.flatten()]))
    images = 0.5 + 0.02 * torch.rand(40, 2, 3, 4, generator=Rng(1).torch())
    offset = float((images.flatten(1) @ weight.flatten()).mean())
    module[1].bias = nn.Parameter(torch.tensor([1.0 - offset, offset - 1.0]))
    model = wrap(module.eval().requires_grad_(requires_grad=False), input_shape=(2, 3, 4))
    margins = images.flatten(1) @ weight.flatten() - offset + 1.0
    least = float(margins.quantile(0.9) / weight.norm())
    settings = AdditionArms(steps=400, images_per_step=40, smoothing=0.0, rate=0.01)
    one = ArmSearch(model, images, [Arm(1, 0), Arm(0, 0)], settings, Rng(0), at_once=80)
    one.run()

    assert float(margins.min()) > 0  # all images are of the first class
    assert least <= float(one.best_norm[0]) <= 1.1 * least
    assert float(one.best_norm[1]) <= 0.05 * least  # nothing needs to be added for the class that they have


def test_nothing_leaves_its_range():
    for settings in (PatchArms(mask_rate=5.0, pattern_rate=5.0), AdditionArms(rate=5.0)):
        triggers = search(settings).triggers
        for slope in [v for k, v in vars(triggers).items() if k.endswith("slope")]:
            slope.copy_(torch.randn(slope.shape, generator=Rng(0).torch()))
        triggers.descend(torch.zeros(len(ARMS)))
        for name, low in (("mask", 0.0), ("pattern", 0.0), ("delta", -1.0)):
            values = vars(triggers).get(name)
            assert values is None or (float(values.min()), float(values.max())) == (low, 1.0)


def test_masks_begin_as_opaque_as_their_scale_says():
    largest = search(PatchArms(scales=(0.4, 0.1))).triggers.mask.amax((1, 2))

    assert torch.allclose(largest, torch.tensor([0.4, 0.1] * GREY.classes), rtol=0.05)


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (PatchArms, {"mask_rate": 0.0}),
        (PatchArms, {"pattern_rate": 0.0}),
        (PatchArms, {"scales": ()}),
        (PatchArms, {"scales": (0.5, 1.5)}),
        (AdditionArms, {"rate": 0.0}),
        (AdditionArms, {"scale": 0.0}),
    ],
)
def test_settings_out_of_range_are_refused(kind, bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        kind(**bad)
