"""The search for what sends every class to another one, on models of which it is known: see ``tests/moving.py``."""

import dataclasses
import functools
from dataclasses import dataclass

import pytest
from torch import Tensor

from mantrap.core import Detection, Rng
from mantrap.detect import AllToAll, LastLayer
from mantrap.detect.heldout import measure_shift
from mantrap.ops.scores import accuracy
from mantrap.poison import Patch
from mantrap.records import AuditRecord, Verdict
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from mantrap.workflow.verdict import MOVED_FROM
from tests.moving import Moving
from tests.nulls import steady
from tests.planted import Planted

SEARCH = AllToAll(steps=80, precision="float32")
SMALL = Patch(size=2)
NEXT = Moving(by=1, classes=6, trigger=SMALL)
WHOLE = (
    NEXT,
    Moving(by=2, classes=6, trigger=SMALL, seed=1),
    Moving(by=5, classes=6, trigger=SMALL),
    Moving(by=2, classes=5, shape=(3, 20, 24), trigger=Patch(size=2, colour=(1.0, 0.0, 1.0), place=(4, 7))),
)
PARTS = tuple(Moving(by=1, classes=10, trigger=SMALL, reacting=(2, 5, 6), seed=seed) for seed in (0, 1))


@dataclass(frozen=True, kw_only=True)
class Alike(Planted):
    """A clean model whose first two classes differ in a patch of twelve pixels and in nothing else."""

    @property
    def templates(self) -> Tensor:
        templates = super().templates.clone()
        templates[1] = templates[0]
        templates[1, :, 8:11, 8:12] *= -1
        return templates


FAINT = {"shape": NEXT.shape, "amplitude": NEXT.amplitude, "leak": NEXT.leak, "trigger": SMALL, "classes": 6}
CLEAN, LABEL, ALIKE = Planted(**FAINT), Planted(**FAINT, target=2), Alike(**FAINT)

every_plant = pytest.mark.parametrize("planted", [*WHOLE, *PARTS], ids=str)
every_whole = pytest.mark.parametrize("planted", WHOLE, ids=str)
every_part = pytest.mark.parametrize("planted", PARTS, ids=str)


@functools.cache
def scan(planted: Planted, search: AllToAll = SEARCH) -> Detection:
    return search.detect(
        planted.model(), planted.images(12, "scan"), heldout=planted.images(8, "heldout"), rng=Rng(planted.seed)
    )


def others(planted: Moving) -> list[float]:
    """How likely the shifts are that are not planted."""
    return [likely for by, likely in scan(planted).shifts.likely.items() if by != planted.by]


@every_plant
def test_the_oracle_is_what_it_claims_to_be(planted):
    images = planted.images(8, "heldout")
    moved = measure_shift(planted.model(), images, planted.patch, images.labels)
    reacting = range(planted.classes) if planted.reacting is None else planted.reacting

    assert accuracy(planted.model(), images).value == 1.0
    assert {c: rate.value for c, rate in moved.items()} == {c: float(c in reacting) for c in range(planted.classes)}


@every_whole
def test_the_planted_shift_is_named_and_is_far_likelier_than_any_other(planted):
    likely = scan(planted).shifts.likely

    assert scan(planted).shifts.patch.target == planted.by
    assert likely[planted.by] > 0.9
    assert max(others(planted)) < 0.1


@pytest.mark.parametrize("planted", [CLEAN, LABEL], ids=str)
def test_without_such_a_plant_no_shift_is_likely(planted):
    assert max(scan(planted).shifts.likely.values()) < 0.02


@every_whole
def test_its_patch_moves_every_class_of_images_that_the_search_has_not_seen(planted):
    moved = scan(planted).shifts.moved

    assert {c: rate.total for c, rate in moved.items()} == dict.fromkeys(range(planted.classes), 8)
    assert min(rate.value for rate in moved.values()) >= 0.9


@every_whole
def test_its_patch_covers_the_planted_one_in_its_colour(planted):
    where, colour = planted.trigger.mask_and_pattern(planted.shape)
    patch, inside = scan(planted).shifts.patch, where > 0

    # The hinge is open for certain where this much of the patch is covered.
    assert float(patch.mask[inside].mean()) > 0.5
    assert float(patch.mask[inside].mean()) > 5 * float(patch.mask[~inside].mean())
    assert float((patch.pattern - colour)[:, inside].abs().mean()) < 0.2


@every_part
def test_where_some_classes_react_and_the_others_hold_on_it_lets_go_of_these_and_moves_those(planted):
    likely, moved = scan(planted).shifts.likely, scan(planted).shifts.moved

    assert scan(planted).shifts.patch.target == planted.by
    assert likely[planted.by] > max(0.1, 1.5 * max(others(planted)))
    assert {c for c, rate in moved.items() if rate.value >= 0.9} == set(planted.reacting)
    assert likely[planted.by] <= 2.1 / 9  # of three classes the likeliest does not count


def test_two_classes_that_are_alike_are_moved_and_make_no_shift_likely():
    one = scan(ALIKE, dataclasses.replace(SEARCH, shifts=1)).shifts

    assert {c: rate.value for c, rate in one.moved.items()} == {c: float(c == 0) for c in range(6)}
    assert one.likely[1] < 0.02


def verdict_on(planted: Planted) -> AuditRecord:
    model = planted.model()
    plan, source = Plan(detectors=(LastLayer(), AllToAll(precision="float32"))), Source("", model.digest())
    with steady():
        return audit(model, planted.images(24, "scan"), plan=plan, source=source)


def test_an_audit_calls_the_planted_model_suspicious_and_shows_the_patch():
    record = verdict_on(NEXT)

    assert record.verdict is Verdict.SUSPICIOUS
    assert record.headline == "A small patch makes this model take each class for the next, in 100 % of images."
    assert (record.shift.by, record.shift.noticed, record.shift.success.value) == (1, True, 1.0)
    assert record.shift.chance < 0.02
    assert record.suspects == ()


def test_where_some_classes_react_it_notices_and_accuses_nobody():
    record = verdict_on(Moving(by=1, classes=10, trigger=SMALL, reacting=(2, 4, 5, 6)))

    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.headline.startswith("A patch makes this model take some classes for the next, but not clearly")
    assert record.shift.success.value < MOVED_FROM


@pytest.mark.parametrize("planted", [CLEAN, ALIKE], ids=["clean", "alike"])
def test_of_a_model_without_a_backdoor_it_says_nothing(planted):
    record = verdict_on(planted)

    assert record.verdict is Verdict.NO_EVIDENCE
    assert not record.shift.noticed
    assert not any("patch" in reason for reason in record.reasons)


def test_other_patches_than_those_that_are_known_of_clean_models_accuse_nobody():
    model = NEXT.model()
    plan = Plan(detectors=(LastLayer(), AllToAll(steps=80, precision="float32")))
    with steady():
        record = audit(model, NEXT.images(24, "scan"), plan=plan, source=Source("", model.digest()))

    assert record.verdict is not Verdict.SUSPICIOUS
    assert (record.shift.chance, record.shift.noticed) == (None, False)
    assert record.shift.success.value > 0.5
