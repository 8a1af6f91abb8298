"""Units that several processes make: each takes what is free, the first one waits for the rest, helpers do not."""

from contextlib import contextmanager

import pytest
import torch

from mantrap.core import Elsewhere, OutOfTime
from mantrap.detect import units
from mantrap.detect.units import unit_by_unit

UNITS = ((0, 1), (2, 3), (4,))
KEYS = tuple(f"unit-{number}-cpu" for number in range(len(UNITS)))


class Shared:
    """A memo in which others are at some pieces; ``later`` says what they do before somebody looks again."""

    def __init__(self, *, helping=False, others=(), kept=None, later=()):
        self.helping, self.others, self.kept = helping, set(others), dict(kept or {})
        self.later, self.held, self.asked = list(later), None, []

    def load(self, key):
        return self.kept.get(key)

    def save(self, key, tensors):
        assert self.held == key, "only what is ours is made"
        self.kept[key] = tensors

    @contextmanager
    def claim(self, key):
        assert self.held is None
        self.asked.append(key)
        if key in self.others:
            yield False
            return
        self.held = key
        try:
            yield True
        finally:
            self.held = None

    def wait(self, _seconds):
        """What others do while nobody here does anything."""
        assert self.held is None, "nobody waits with a claim"
        self.later.pop(0)(self)


def finishes(key, unit):
    """Another process finishes a piece."""

    def do(memo):
        memo.others.discard(key)
        memo.kept[key] = piece(unit, by=7)

    return do


def dies(key):
    """Another process ends before it has finished a piece."""
    return lambda memo: memo.others.discard(key)


def piece(unit, *, by):
    """What came of a unit, and who has made it."""
    return {"labels": torch.tensor(unit), "by": torch.tensor(by)}


class Stage:
    """Notes what it is told, and may ask to stop."""

    def __init__(self, stops=lambda _note: False):
        self.told, self.stops = [], stops

    def advance(self, amount=1, note=""):
        self.told.append((amount, note))
        if self.stops(note):
            raise OutOfTime


class Over(Stage):
    """Asks to stop from a note on, whatever it is told after it."""

    def __init__(self, first):
        super().__init__(lambda _: any(note.startswith(first) for _, note in self.told))


class Work:
    """Makes pieces, and notes which."""

    def __init__(self, ends=()):
        self.made, self.ends = [], ends

    def __call__(self, unit):
        if unit in self.ends:
            raise OutOfTime
        self.made.append(unit)
        return {"by": torch.tensor(1)}


@pytest.fixture
def run(monkeypatch):
    """All that is yielded, as units and who made them, and what is raised in the end."""

    def collect(memo, work=None, stage=None):
        monkeypatch.setattr(units.time, "sleep", memo.wait)
        found, raised = [], None
        try:
            for unit, kept in unit_by_unit(UNITS, memo, stage or Stage(), work or Work(), made_with="cpu"):
                found.append((unit, int(kept["by"])))
        except (OutOfTime, Elsewhere) as error:
            raised = type(error)
        return found, raised

    return collect


def test_where_nobody_else_is_at_any_all_are_made_in_order(run):
    memo, work = Shared(), Work()

    assert run(memo, work) == ([(unit, 1) for unit in UNITS], None)
    assert work.made == list(UNITS)
    assert memo.asked == list(KEYS)
    assert all(memo.kept[key]["labels"].tolist() == list(unit) for key, unit in zip(KEYS, UNITS, strict=True))


def test_what_another_is_at_is_waited_for_and_comes_in_its_place(run):
    memo = Shared(others=KEYS[:1], later=[lambda _: None, finishes(KEYS[0], UNITS[0])])
    work, stage = Work(), Stage()

    assert run(memo, work, stage) == ([(UNITS[0], 7), (UNITS[1], 1), (UNITS[2], 1)], None)
    assert work.made == list(UNITS[1:])
    assert stage.told == [
        (0, "waiting for another process"),
        (0, "waiting for another process"),
        (2, "labels 0 to 1 from another process"),
    ]


def test_what_another_left_behind_when_it_died_is_made(run):
    memo, work = Shared(others=KEYS[1:2], later=[dies(KEYS[1])]), Work()

    assert run(memo, work) == ([(unit, 1) for unit in UNITS], None)
    assert work.made == [UNITS[0], UNITS[2], UNITS[1]]


def test_what_is_there_is_not_made_again_and_the_stage_hears_of_it_once(run):
    memo = Shared(kept={KEYS[0]: piece(UNITS[0], by=7), KEYS[2]: piece(UNITS[2], by=7)})
    work, stage = Work(), Stage()

    assert run(memo, work, stage) == ([(UNITS[0], 7), (UNITS[1], 1), (UNITS[2], 7)], None)
    assert work.made == [UNITS[1]]
    assert sum(amount for amount, _ in stage.told) == 3


def test_a_piece_of_other_labels_is_none(run):
    memo, work = Shared(kept={KEYS[1]: piece((5, 6), by=7)}), Work()

    assert run(memo, work) == ([(unit, 1) for unit in UNITS], None)
    assert memo.kept[KEYS[1]]["labels"].tolist() == [2, 3]


class TestAHelper:
    def test_makes_what_is_free_waits_for_nobody_and_yields_nothing(self, run):
        memo, work = Shared(helping=True, others=KEYS[:1]), Work()

        assert run(memo, work) == ([], Elsewhere)
        assert work.made == list(UNITS[1:])
        assert KEYS[0] not in memo.kept

    def test_has_nothing_to_do_where_all_is_there(self, run):
        memo = Shared(helping=True, kept={k: piece(u, by=7) for k, u in zip(KEYS, UNITS, strict=True)})

        assert run(memo, Work(ends=UNITS)) == ([], Elsewhere)


class TestTimeOver:
    def test_in_a_unit_leaves_those_that_are_there_also_after_it(self, run):
        memo = Shared(kept={KEYS[2]: piece(UNITS[2], by=7)})
        work = Work(ends=UNITS[1:2])

        assert run(memo, work) == ([(UNITS[0], 1), (UNITS[2], 7)], OutOfTime)
        assert work.made == [UNITS[0]]
        assert memo.held is None

    def test_while_another_is_waited_for_counts_what_there_is(self, run):
        memo = Shared(others=KEYS[:1], later=[lambda _: None] * 3)
        stage = Stage(lambda note: note.startswith("waiting"))

        assert run(memo, stage=stage) == ([(UNITS[1], 1), (UNITS[2], 1)], OutOfTime)
        assert len(memo.later) == 2

    def test_what_another_finishes_meanwhile_counts(self, run):
        memo = Shared(others=KEYS[:1], later=[finishes(KEYS[0], UNITS[0])])
        stage = Stage(lambda note: note.startswith("waiting"))

        assert run(memo, stage=stage) == (list(zip(UNITS, (7, 1, 1), strict=True)), OutOfTime)

    def test_once_it_is_over_whatever_is_there_counts(self, run):
        memo = Shared(others=KEYS[:1], later=[finishes(KEYS[0], UNITS[0])])
        stage = Over("waiting")

        assert run(memo, stage=stage) == (list(zip(UNITS, (7, 1, 1), strict=True)), OutOfTime)

    def test_nothing_is_begun_after_it(self, run):
        work = Work(ends=UNITS[:1])

        assert run(Shared(), work) == ([], OutOfTime)
        assert work.made == []
