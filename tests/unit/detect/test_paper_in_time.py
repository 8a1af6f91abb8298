"""The paper's search under a deadline, and in several goes: finished labels count, and the rest is missed."""

import pytest
import torch

from mantrap.core import Cost, Detection, Rng
from mantrap.detect import PaperNeuralCleanse
from tests.hurried import StopsAfter
from tests.planted import Planted

PLANTED = Planted(shape=(1, 10, 12), target=1)
LABELS, BATCH = 5, 40
SETTINGS = {"steps": 60, "images_per_step": BATCH, "batch_size": 20, "patience": 2, "early_stop_patience": 4}


class Kept:
    """A memo that notes what is saved."""

    def __init__(self):
        self.pieces = {}

    def load(self, key):
        return self.pieces.get(key)

    def save(self, key, tensors):
        self.pieces[key] = dict(tensors)


def scan(*, at_once=1, **keywords) -> Detection:
    settings = PaperNeuralCleanse(**SETTINGS, labels_at_once=at_once)
    heldout = PLANTED.images(4, "heldout")
    return settings.detect(PLANTED.model(), PLANTED.images(4, "scan"), heldout=heldout, rng=Rng(2), **keywords)


def steps(detection):
    """How many steps each label took."""
    return {f.label: f.steps for f in detection.labels}


@pytest.fixture(scope="module")
def everything():
    return scan()


@pytest.mark.parametrize(
    ("at_once", "time", "reached"),
    [(1, 0.01, 0), (1, 0.9, 0), (1, 1.0, 1), (1, 2.5, 2), (2, 1.5, 0), (2, 3.5, 2), (5, 4.0, 0)],
)
def test_what_is_finished_when_time_is_over_counts_and_the_rest_is_missed(everything, at_once, time, reached):
    part = scan(at_once=at_once, progress=StopsAfter(time))

    assert [f.label for f in part.labels] == list(range(reached))
    assert part.missed == LABELS - reached
    assert steps(part) == {label: n for label, n in steps(everything).items() if label < reached}
    for trigger in part.triggers:
        assert trigger.norm == pytest.approx(everything.trigger_for(trigger.target).norm, rel=1e-4)
    assert part.cost.backward == BATCH * sum(steps(part).values())


def test_where_nothing_is_finished_there_is_nothing_to_say():
    part = scan(progress=StopsAfter(0.01))

    assert (part.labels, part.triggers, part.indices, part.suspects, part.score) == ((), (), {}, (), None)
    assert part.cost == Cost()


@pytest.mark.parametrize("at_once", [1, 2, 5])
def test_time_that_ends_with_the_last_label_takes_nothing_away(everything, at_once):
    found = scan(at_once=at_once, progress=StopsAfter(LABELS - 1e-6))

    assert found.missed == 0
    assert steps(found) == steps(everything)


def test_what_is_left_is_found_when_it_goes_on_and_is_what_one_go_would_have_found(everything):
    memo = Kept()
    part = scan(progress=StopsAfter(2.5), memo=memo)
    before = dict(memo.pieces)
    found = scan(memo=memo)

    assert (part.missed, len(before)) == (3, 2)
    assert all(memo.pieces[key] is before[key] for key in before)
    assert found.missed == 0
    assert steps(found) == steps(everything)
    assert found.indices == everything.indices
    assert found.cost == everything.cost
    for one, other in zip(found.triggers, everything.triggers, strict=True):
        assert torch.equal(one.mask, other.mask)
        assert torch.equal(one.pattern, other.pattern)


def test_labels_that_were_named_otherwise_are_not_taken_for_one_another(everything):
    memo = Kept()
    scan(labels=[3, 1], memo=memo)
    found = scan(labels=[1, 3, 0], memo=memo)

    assert steps(found) == {label: steps(everything)[label] for label in (1, 3, 0)}
    assert [f.norm for f in found.labels] == [everything.finding_for(label).norm for label in (1, 3, 0)]
