"""Many searches as one tensor: each is what it would be alone, and keeps the smallest trigger that worked."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from mantrap.core import Rng
from mantrap.detect.arm_triggers import AdditionArms, PatchArms
from mantrap.detect.arms import ArmSearch
from mantrap.detect.passes import Arm
from mantrap.errors import FailedError, SpecError
from mantrap.models import wrap
from mantrap.poison import Patch
from tests.planted import Planted

GREY = Planted(target=2)
ARMS = tuple(Arm(target, restart) for target in range(GREY.classes) for restart in range(2))
SHORT = PatchArms(steps=6, images_per_step=8, warm_up=1 / 3)
KINDS = (SHORT, AdditionArms(steps=6, images_per_step=8, warm_up=1 / 3))

every_kind = pytest.mark.parametrize("settings", KINDS, ids=lambda s: type(s).__name__)


def search(arms=ARMS, settings=SHORT, *, planted=GREY, at_once=64, seed=0, images=None):
    model = planted.model()
    pixels = planted.images(8, "scan").images() if images is None else images
    model.module.eval()
    return ArmSearch(model, pixels, arms, settings, Rng(seed), at_once=at_once)


def found(**options):
    one = search(**options)
    one.run()
    return one


@pytest.fixture
def precisely():
    """All in float64: Adam makes a whole step of a slope that is nothing but rounding, which differs by the group."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield GREY.images(8, "scan").images().double()
    torch.set_default_dtype(before)


@every_kind
def test_an_arm_is_what_it_would_be_alone_in_any_order_and_any_group(settings, precisely):
    together = found(settings=settings, images=precisely)
    backwards = found(arms=ARMS[::-1], settings=settings, at_once=8, images=precisely)
    for place, arm in enumerate(ARMS):
        alone = found(arms=(arm,), settings=settings, images=precisely)
        for other, at in ((alone, 0), (backwards, len(ARMS) - 1 - place)):
            assert torch.allclose(other.triggers.norms()[at], together.triggers.norms()[place], rtol=1e-9)
            assert torch.allclose(other.best_norm[at], together.best_norm[place], rtol=1e-9)
            for name, best in together.triggers.best.items():
                assert torch.allclose(other.triggers.best[name][at], best[place], atol=1e-9)


@every_kind
def test_restarts_differ_and_other_seeds_do(settings):
    one, other, again = (found(settings=settings, seed=seed).triggers.norms() for seed in (0, 1, 0))

    assert one[0] != one[1]
    assert one[0] != other[0]
    assert torch.equal(one, again)


def test_every_arm_sees_all_images_of_other_classes_before_it_sees_one_again():
    one = search(settings=PatchArms(steps=10, images_per_step=8, warm_up=0))
    answers = one.model.logits(one.images).argmax(1)

    assert one.shown.shape == (len(ARMS), 10, 8)
    for arm, row in zip(ARMS, one.shown.flatten(1), strict=True):
        others = (answers != arm.target).nonzero().flatten().tolist()
        assert 0 < len(others) < 40
        assert sorted(row[: len(others)].tolist()) == sorted(row[len(others) : 2 * len(others)].tolist()) == others
    assert not torch.equal(one.shown[0], one.shown[1])


def test_where_no_image_is_of_another_class_an_arm_sees_all():
    one = search()
    same = one.images[one.model.logits(one.images).argmax(1) == ARMS[0].target]
    lonely = search(arms=(ARMS[0],), images=same)

    assert sorted(lonely.shown.flatten()[: len(same)].tolist()) == list(range(len(same)))


def costs(outcomes, **settings):
    """The weight after each step, for an arm whose trigger works at the steps marked ``+``."""
    one = search(arms=ARMS[:1], settings=PatchArms(steps=len(outcomes), images_per_step=8, smoothing=0.0, **settings))
    trace = []
    for outcome in outcomes:
        one._look = lambda outcome=outcome: torch.tensor([8.0 if outcome == "+" else 0.0])
        one.advance()
        trace.append(float(one.cost))
    return trace


def test_the_norm_costs_nothing_at_first_then_more_while_the_trigger_works():
    trace = costs("++" + "--" + "++" + "-", warm_up=2 / 7, initial_cost=0.5, cost_multiplier=4.0)

    assert trace == pytest.approx([0, 0, 0, 0, 0.5, 2.0, 0.25])


def test_success_is_a_moving_average():
    one = search(arms=ARMS[:1], settings=PatchArms(steps=3, images_per_step=8, warm_up=0, smoothing=0.75))
    for hits in (4.0, 8.0, 8.0):
        one._look = lambda hits=hits: torch.tensor([hits])
        one.advance()

    assert float(one.success) == pytest.approx(1 - 0.5 * 0.75**2)


@every_kind
def test_what_is_kept_worked_and_is_the_smallest_that_did(settings):
    one = search(settings=dataclasses.replace(settings, steps=40, warm_up=1 / 8))
    smallest = torch.full((len(ARMS),), math.inf)
    for _ in range(40):
        norms = one.triggers.norms()
        one.advance()
        works = one.success >= settings.success_threshold
        smallest = torch.where(works, torch.minimum(smallest, norms), smallest)
        assert torch.equal(one.best_norm, smallest)

    assert smallest.isfinite().all()
    one.triggers.__dict__.update(one.triggers.best)
    assert torch.allclose(one.triggers.norms(), one.best_norm)


PLANTED = (
    GREY,
    Planted(shape=(3, 10, 18), target=1, trigger=Patch(size=(2, 3), colour=(1.0, 0.0, 1.0), place=(4, 7))),
    Planted(shape=(1, 18, 10), target=0, base=0.7, amplitude=0.2, trigger=Patch(size=2, colour="black")),
)


@pytest.mark.parametrize("planted", PLANTED, ids=str)
def test_the_planted_label_needs_the_least_and_the_others_what_they_must(planted):
    arms = [Arm(target, restart) for target in range(planted.classes) for restart in range(2)]
    images = planted.images(40, "scan")
    settings = PatchArms(steps=150, images_per_step=32, smoothing=0.5, success_threshold=1.0)
    one = found(arms=arms, settings=settings, planted=planted, images=images.images())
    norms = one.best_norm.view(-1, 2).amin(1)

    assert int(norms.argmin()) == planted.target
    assert float(norms[planted.target]) <= 1.5 * planted.area
    others = torch.arange(planted.classes) != planted.target
    assert float(norms[others].min()) >= planted.least_norm(images)


def test_a_model_that_breaks_off_is_said_with_its_step():
    class Broken(nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :3] * math.nan

    model = wrap(Broken(), input_shape=(1, 4, 4))
    one = ArmSearch(model, torch.rand(8, 1, 4, 4), [Arm(1, 0)], SHORT, Rng(0), at_once=8)
    with pytest.raises(FailedError, match=r"finite logits while searching for label 1, got a loss of nan at step 0"):
        one.run()


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"images_per_step": 0},
        {"warm_up": 1.0},
        {"initial_cost": 0.0},
        {"cost_multiplier": 1.0},
        {"smoothing": 1.0},
        {"success_threshold": 0.0},
    ],
)
@pytest.mark.parametrize("kind", [PatchArms, AdditionArms])
def test_settings_out_of_range_are_refused(kind, bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        kind(**bad)
