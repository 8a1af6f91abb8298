"""Warps that go so far and no farther: what they do to images, how they follow slopes, and how near they bring images.

The oracle is ``tests/bending.py``, whose network measures how far images were bent.
"""

import math

import pytest
import torch

from mantrap.core import Rng
from mantrap.detect.passes import Arm
from mantrap.detect.warping import Warping, Warps, WarpSearch
from mantrap.errors import SpecError
from mantrap.ops.warp import warp
from tests.bending import GAIN, Bending
from tests.planted import Planted

SHORT = Warping(steps=12, images_per_step=4)
WIDE = Bending()
SHAPES = (WIDE, Bending(shape=(3, 20, 12)), Bending(shape=(2, 16, 16)))

every_shape = pytest.mark.parametrize("bending", SHAPES, ids=str)


def search(warping=SHORT, *, bending=WIDE, labels=(1, 2, 3, 4), at_once=64, seed=0, model=None, images=None):
    model = model or bending.model()
    model.module.eval()
    pixels = bending.images(12, "scan").images() if images is None else images
    return WarpSearch(model, pixels, [Arm(label, 0) for label in labels], warping, Rng(seed), at_once=at_once)


def searched(warping=SHORT, **options):
    """The search when all its steps are done."""
    one = search(warping, **options)
    for _ in range(warping.steps):
        one.advance()
    return one


def lengths(flows):
    """Root mean square of how far each flow moves pixels."""
    return (flows[:, 0] ** 2 + flows[:, 1] ** 2).mean((1, 2)) ** 0.5


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=Rng(seed).torch(), dtype=torch.float64)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"images_per_step": 0},
        {"grid": 1},
        {"far": 0.0},
        {"far": math.nan},
        {"rate": 0.0},
        {"sharpness": -1.0},
        {"measure": 0.0},
        {"measure": 1.1},
    ],
    ids=lambda bad: "-".join(f"{k}={v}" for k, v in bad.items()),
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        Warping(**bad)


class TestWarps:
    def warps(self, control, most=0.7, rate=0.4, shape=(9, 13)):
        return Warps(control.clone(), most, rate, shape)

    def test_their_flows_run_through_the_control_vectors_of_which_1_is_four_times_as_far_as_all_may_go(self):
        control = 0.02 * drawn(3, 2, 4, 4)
        one = self.warps(control, most=0.5, shape=(10, 16))

        assert one.flows(one.control).shape == (3, 2, 10, 16)
        assert torch.allclose(one.flows(one.control)[..., ::3, ::5], 4 * 0.5 * control)

    @pytest.mark.parametrize("channels", [1, 3])
    def test_each_arm_bends_all_its_images_alike_and_those_of_others_not(self, channels):
        one = self.warps(0.1 * drawn(4, 2, 3, 3))
        images = drawn(2, 5, channels, 9, 13, seed=1).sigmoid()
        stamped = one.stamped(slice(1, 3), images)
        for place, flow in enumerate(one.flows(one.control)[1:3]):
            assert torch.equal(stamped[place], warp(images[place], flow[None]))
        assert not torch.allclose(one.stamped(slice(0, 2), images), stamped)

    def test_the_slope_they_take_in_is_that_of_finite_differences(self):
        # Values between pixels are linear in the flow, but for a kink at each pixel, which no step here comes across.
        one = self.warps(0.1 * drawn(3, 2, 3, 3), shape=(6, 7))
        images, slopes = 0.2 + 0.6 * drawn(2, 4, 3, 6, 7, seed=1).sigmoid(), drawn(2, 4, 3, 6, 7, seed=2)
        before = one._slope.fill_(5.0).clone()
        one.note(slice(1, 3), images, slopes)
        found, step = one._slope.clone(), 1e-6
        for place in torch.cartesian_prod(*map(torch.arange, (2, 2, 3, 3))):
            at = tuple((place + torch.tensor([1, 0, 0, 0])).tolist())
            ends = []
            for way in (step, -step):
                one.control[at] += way
                ends.append((one.stamped(slice(1, 3), images) * slopes).sum())
                one.control[at] -= way
            assert float(found[at]) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-5)

        assert torch.equal(found[0], before[0])
        assert float(found[1:].abs().min()) > 1e-4

    def test_one_that_goes_too_far_is_made_as_much_weaker_everywhere_as_it_takes_and_no_other_is(self):
        control = drawn(2, 2, 4, 4).clamp(-1, 1) * torch.tensor([1.0, 0.01])[:, None, None, None]
        one = self.warps(control)
        before, after = lengths(one.flows(control)), lengths(one.flows(one.control))

        assert float(before[0]) > 0.7 > float(before[1])
        assert float(after[0]) == pytest.approx(0.7)
        assert torch.allclose(one.control[0] / control[0], 0.7 / before[0])
        assert torch.equal(one.control[1], control[1])

    def test_none_at_all_stays_none(self):
        one = self.warps(torch.zeros(1, 2, 4, 4))

        assert torch.equal(one.control, torch.zeros(1, 2, 4, 4))

    def test_a_first_step_moves_every_vector_by_the_rate_down_its_slope(self):
        one = self.warps(torch.zeros(2, 2, 4, 4, dtype=torch.float64), rate=0.3)
        one._slope = drawn(2, 2, 4, 4)
        one.descend()
        corners = one.flows(one.control)[..., ::8, ::12]

        assert torch.allclose(corners, -0.3 * 0.7 * one._slope[..., ::3, ::3].sign(), rtol=1e-5)

    def test_no_step_leaves_them_farther_than_they_may_go(self):
        one = self.warps(torch.zeros(3, 2, 4, 4), rate=3.0)
        one._slope = drawn(3, 2, 4, 4).float()
        for _ in range(3):
            one.descend()
            assert torch.allclose(lengths(one.flows(one.control)), torch.tensor(0.7))

    @pytest.mark.parametrize("way", [-1.0, 1.0])
    def test_a_single_vector_goes_four_times_as_far_as_all_may_and_no_farther(self, way):
        one = self.warps(torch.zeros(1, 2, 16, 16), rate=1.0, shape=(16, 16))
        one._slope = torch.zeros(1, 2, 16, 16)
        one._slope[0, 1, 8, 8] = -way
        for _ in range(8):
            one.descend()

        assert float(one.flows(one.control)[0, 1, 8, 8]) == pytest.approx(way * 4 * 0.7)
        assert float(lengths(one.flows(one.control))) < 0.7


class TestReach:
    def test_arms_begin_with_vectors_of_four_tenths_of_how_far_they_may_go(self):
        one = search(Warping(steps=1, images_per_step=1), labels=range(1, 5))
        many = [search(Warping(steps=1, images_per_step=1), seed=seed).warps.control for seed in range(12)]

        assert float(torch.cat(many).std()) == pytest.approx(0.4 / 4, rel=0.05)
        assert len({float(control[0, 0, 0]) for control in one.warps.control}) == 4

    @every_shape
    def test_no_step_moves_pixels_farther_than_a_share_of_the_longer_side_and_who_is_out_of_reach_uses_all_of_it(
        self, bending
    ):
        warping = Warping(steps=12, images_per_step=4, far=0.03)
        one, most = search(warping, bending=bending), bending.most(0.03)
        for _ in range(12):
            one.advance()
            assert float(lengths(one.warps.flows(one.warps.control)).max()) <= most * (1 + 1e-5)

        assert one.step == 12
        assert float(lengths(one.warps.flows(one.warps.control))[1]) == pytest.approx(most, rel=1e-5)

    @every_shape
    def test_pixels_come_from_where_the_label_needs_them_to(self, bending):
        one = searched(Warping(steps=100), bending=bending)
        flows, most = one.warps.flows(one.warps.control), bending.most(0.035)
        for flow, need in zip(flows, bending.needs, strict=True):
            along = torch.tensor(need) / math.hypot(*need)
            middle = flow.mean((1, 2))

            assert float(middle @ along) > 0.9 * most
            assert float((middle - (middle @ along) * along).norm()) < 0.3 * most

    def test_as_many_vectors_are_searched_as_the_grid_has(self):
        assert search(Warping(steps=1, grid=3)).warps.control.shape == (4, 2, 3, 3)


def margins(one, logits, label):
    """By how much the label is ahead of all others, in units of the usual margin."""
    others = [k for k in range(logits.shape[-1]) if k != label]
    return (logits[..., label] - logits[..., others].exp().sum(-1).log()) / one.usual_margin


class TestNearness:
    def seen(self, one):
        """The mean nearness of every arm's images at each step, by the logistic function of their margins."""
        curves = []
        for _ in range(one.shown.shape[1]):
            images = one.images[one.shown[:, one.step]]
            logits = one.model.logits(one.warps.stamped(slice(None), images).flatten(0, 1)).view(*images.shape[:2], -1)
            near = [(3.0 * margins(one, logits[place], arm.target)).sigmoid() for place, arm in enumerate(one.arms)]
            one.advance()
            assert torch.allclose(one.likely, torch.stack(near), rtol=1e-3, atol=1e-6)
            curves.append(one.likely.mean(1))
        return torch.stack(curves)

    @pytest.mark.parametrize(
        ("steps", "measure", "first"), [(8, 0.25, 6), (8, 1.0, 0), (1, 0.25, 0), (10, 0.01, 9), (7, 0.5, 4)]
    )
    def test_it_is_the_mean_over_images_and_the_last_steps_of_a_logistic_function_of_the_margin(
        self, steps, measure, first
    ):
        one = search(Warping(steps=steps, images_per_step=4, measure=measure))
        curves = self.seen(one)

        assert float(curves.std()) > 0.01
        assert torch.allclose(one.nearness(), curves[first:].mean(0), rtol=1e-5)

    def test_before_it_counts_it_is_none(self):
        one = search()
        for _ in range(9):
            assert torch.equal(one.nearness(), torch.zeros(4))
            one.advance()

        assert torch.equal(one.nearness(), torch.zeros(4))
        one.advance()
        assert float(one.nearness().min()) > 0

    def test_it_is_as_sharp_as_is_said(self):
        one = search(Warping(steps=4, sharpness=1.5))
        logits = GAIN * torch.tensor([[0.0, 0.1, -2.0, -0.5, -1.0]])

        assert float(one._near(logits, torch.tensor([1]))) == pytest.approx(
            float((1.5 * margins(one, logits, 1)).sigmoid())
        )
        assert float(one._loss(logits.expand(3, 5), torch.tensor([1, 1, 1]))) == pytest.approx(
            -3 * float(one._near(logits, torch.tensor([1])))
        )

    @every_shape
    def test_no_label_comes_nearer_than_a_warp_can_bring_it_and_each_almost_does(self, bending):
        one = searched(Warping(steps=150), bending=bending)
        most = bending.most(0.035)
        for label, near in enumerate(one.nearness().tolist(), 1):
            # Images differ by a level of up to 0.05 pixels, and the edges keep a tenth of the way.
            assert bending.nearness(label, 0.85 * most, 3.0) < near < bending.nearness(label, most + 0.05, 3.0)

    def test_the_slopes_are_those_of_the_mean_nearness(self):
        one = search(Warping(steps=4, images_per_step=4), at_once=8)
        control = one.warps.control.clone().requires_grad_()
        images = one.images[one.shown[:, 0]]
        one._look()
        for place, arm in enumerate(one.arms):
            bent = warp(images[place], one.warps.flows(control)[place, None])
            near = (3.0 * margins(one, one.model.logits(bent), arm.target)).sigmoid().mean()
            (slope,) = torch.autograd.grad(-near, control)

            assert torch.allclose(one.warps._slope[place], slope[place], rtol=1e-3, atol=1e-6)


@pytest.fixture
def precisely():
    """All in float64: Adam makes a whole step of a slope that is nothing but rounding, which differs by the group."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield WIDE.images(12, "scan").images().double()
    torch.set_default_dtype(before)


class TestCompany:
    def test_an_arm_is_what_it_would_be_alone_in_any_order_and_any_group(self, precisely):
        together = searched(images=precisely)
        backwards = searched(images=precisely, labels=(4, 3, 2, 1), at_once=8)
        for place, label in enumerate((1, 2, 3, 4)):
            alone = searched(images=precisely, labels=(label,))
            for other, at in ((alone, 0), (backwards, 3 - place)):
                assert torch.allclose(other.nearness()[at], together.nearness()[place], rtol=1e-9)
                assert torch.allclose(other.warps.control[at], together.warps.control[place], atol=1e-9)

    def test_in_float32_too_but_for_the_last_digits_where_nothing_is_a_matter_of_rounding(self):
        together, one_by_one = searched(at_once=64), searched(at_once=1)

        assert one_by_one.group == 1
        assert torch.allclose(one_by_one.nearness(), together.nearness(), rtol=1e-3)

    def test_the_same_seed_gives_the_same_warps_and_another_others(self):
        one, again, other = (searched(seed=seed).warps.control for seed in (0, 0, 1))

        assert torch.equal(one, again)
        assert not torch.allclose(one, other, atol=0.01)

    def test_models_whose_images_are_of_several_classes_show_each_arm_those_of_others(self):
        planted = Planted(classes=3)
        model = planted.model()
        one = search(model=model, images=planted.images(5, "scan").images(), labels=(0, 2))

        assert not bool((one.answers[one.shown[0]] == 0).any() or (one.answers[one.shown[1]] == 2).any())
