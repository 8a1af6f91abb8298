"""An audit in a given time: how it is shared out, what is kept when it is over, and what is said of the rest."""

import contextlib
import dataclasses

import pytest

from mantrap.core import SILENT, OutOfTime
from mantrap.detect import DETECTORS
from mantrap.errors import UsageError
from mantrap.records import Verdict
from mantrap.workflow import looking
from mantrap.workflow.audit import audit
from mantrap.workflow.budget import Budget, Deadline, seconds_of, spoken
from mantrap.workflow.plan import Plan, Reference, Source
from mantrap.workflow.seen import nothing
from tests import stage
from tests.planted import Planted
from tests.scans import scan

QUICK = stage.QUICK
"""60 steps for each of three groups of two labels; each step looks at the clock once."""
SPOKEN = "neural_cleanse(images_per_step=16, labels_at_once=2)"
SIX = Planted(shape=(1, 8, 8), classes=6)


class Clock:
    """A clock that goes on by so much whenever somebody looks at it."""

    def __init__(self, step=0.0):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


class StopsAfter:
    """An observer that asks to stop once so much of a stage is done."""

    def __init__(self, done):
        self.left = done

    def stage(self, name, total):
        return Deadline(SILENT, None).stage(name, total) if self.left is None else _Counting(self.left)


class _Counting:
    def __init__(self, left):
        self.left = left

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def advance(self, amount=1, note=""):
        del note
        self.left -= amount
        if self.left < 1e-6:
            raise OutOfTime


class TestATime:
    @pytest.mark.parametrize(
        ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h", 3600), ("1h30m", 5400), ("2m0.5s", 120.5), (" 7s ", 7)]
    )
    def test_is_read(self, text, seconds):
        assert seconds_of(text) == seconds

    @pytest.mark.parametrize("text", ["", "30", "s", "-5m", "1d", "5 m", "0s", "1m1h", "1e3s"])
    def test_of_another_form_is_refused(self, text):
        with pytest.raises(UsageError, match="a time such as 30s, 5m or 1h30m"):
            seconds_of(text)

    @pytest.mark.parametrize(
        ("seconds", "said"), [(0.2, "1 s"), (59, "59 s"), (61, "2 min"), (3600, "1 h 0 min"), (9001, "2 h 31 min")]
    )
    def test_is_said_as_one_plans_with_it(self, seconds, said):
        assert spoken(seconds) == said


class TestShares:
    def test_are_equal_and_what_is_left_goes_on(self):
        clock = Clock()
        budget = Budget(12, 3, clock=clock)
        first = budget.next(SILENT)
        clock.now = 1.0
        second = budget.next(SILENT)
        clock.now = 10.0
        third = budget.next(SILENT)

        assert [d._until for d in (first, second, third)] == [4.0, 1 + 11 / 2, 12.0]

    def test_are_over_at_once_where_nothing_is_left(self):
        clock = Clock()
        budget = Budget(5, 2, clock=clock)
        clock.now = 9.0
        with pytest.raises(OutOfTime), budget.next(SILENT).stage("late", 10) as late:
            late.advance()

    def test_without_a_budget_never_end(self):
        deadline = Budget(None, 1, clock=Clock(1e9)).next(SILENT)
        with deadline.stage("long", 10) as long:
            long.advance(3)

        assert deadline.estimate is None

    def test_a_part_is_one_of_what_is_left(self):
        clock = Clock()
        budget = Budget(12, 3, clock=clock)
        clock.now = 4.0

        assert budget.part(SILENT, 0.25)._until == 6.0
        assert Budget(None, 3, clock=clock).part(SILENT, 0.25)._until is None

    @pytest.mark.parametrize(("slow", "stopped"), [(1.5, False), (2.5, True)])
    def test_a_part_stops_as_soon_as_it_will_not_suffice(self, slow, stopped):
        clock = Clock()
        part = Budget(80, 1, clock=clock).part(SILENT, 0.25)
        with contextlib.suppress(OutOfTime), part.stage("whole", 10) as whole:
            clock.now = slow
            whole.advance()

        assert part.estimate == (pytest.approx(10 * slow) if stopped else None)

    def test_a_first_moment_does_not_tell_how_long_a_part_takes(self):
        clock = Clock()
        part = Budget(80, 1, clock=clock).part(SILENT, 0.25)
        with part.stage("whole", 1000) as whole:
            clock.now = 10.0
            whole.advance()

        assert part.estimate is None

    def test_that_end_with_the_work_stop_nothing(self):
        clock = Clock()
        deadline = Deadline(SILENT, 1.0, clock=clock)
        with deadline.stage("just", 2) as just:
            just.advance()
            clock.now = 5.0
            just.advance()

        assert deadline.estimate is None

    def test_say_how_long_all_of_it_would_have_taken(self):
        clock = Clock()
        deadline = Deadline(SILENT, 3.0, clock=clock)
        with deadline.stage("slow", 100) as slow:
            slow.advance(10)
            clock.now = 4.0
            with pytest.raises(OutOfTime):
                slow.advance(10)

        assert deadline.estimate == pytest.approx(20)


class TestADetector:
    @pytest.mark.parametrize("name", ["neural_cleanse", "universal_perturbation"])
    def test_that_searches_keeps_the_groups_that_are_finished(self, name):
        spec = f"{name}(labels_at_once=2)"
        whole = scan(DETECTORS.create(spec), SIX)
        part = scan(DETECTORS.create(spec), SIX, progress=StopsAfter(3.5))

        assert [f.label for f in part.labels] == [0, 1]
        assert part.missed == 4
        assert [f.norm for f in part.labels] == [f.norm for f in whole.labels[:2]]
        assert {k: set(v) for k, v in part.traits.items()} == {key: {0, 1} for key in whole.traits}
        assert whole.missed == 0

    def test_that_climbs_keeps_what_it_has_climbed(self):
        climb = DETECTORS.create("mm_bd(starts=1, steps=5, labels_at_once=2)")
        whole, part = scan(climb, SIX), scan(climb, SIX, progress=StopsAfter(3.5))

        assert part.traits["margin"] == {t: whole.traits["margin"][t] for t in range(4)}
        assert part.missed == 2

    def test_that_moves_all_classes_says_nothing_of_them(self):
        part = scan(DETECTORS.create("all_to_all_patch(steps=8, images_per_step=4)"), SIX, progress=StopsAfter(1))

        assert part.shifts is None
        assert part.missed == 6

    def test_that_is_stopped_before_anything_has_nothing_to_say(self):
        part = scan(DETECTORS.create(QUICK), SIX, progress=StopsAfter(0.01))

        assert (part.labels, part.triggers, part.suspects, part.score) == ((), (), (), None)
        assert part.missed == 6


def run(clock, monkeypatch, *, detectors=(QUICK, "last_layer"), references=(), budget=100.0, out=None):
    monkeypatch.setattr(looking, "Budget", lambda seconds, pieces: Budget(seconds, pieces, clock=clock))
    plan = Plan(detectors=tuple(map(DETECTORS.create, detectors)), references=references, budget=budget)
    source = Source("tiles.safetensors", "ab" * 32)
    return audit(stage.model(planted=True), stage.image_set(), plan=plan, source=source, out=out)


class TestAnAudit:
    def test_that_has_time_enough_is_what_it_is_without_a_budget(self, monkeypatch):
        short, free = (run(Clock(), monkeypatch, budget=budget) for budget in (100.0, None))

        assert (short.verdict, short.labels, short.barring) == (free.verdict, free.labels, ())
        assert [d.detector for d in short.detections] == [d.detector for d in free.detections]

    def test_that_has_none_ends_in_no_verdict_and_says_why(self, monkeypatch):
        record = run(Clock(1.0), monkeypatch, budget=0.5)

        assert record.verdict is Verdict.INCONCLUSIVE
        assert record.labels == ()
        assert record.barring[0].startswith(
            f"{SPOKEN} came to no answer in its share of the time; all of it would take "
        )

    def test_that_ends_in_the_middle_says_how_far_it_came(self, monkeypatch):
        record = run(Clock(1.0), monkeypatch, detectors=(QUICK,), budget=90.0)

        assert [e.label for e in record.labels] == [0, 1]
        assert record.verdict is not Verdict.NO_EVIDENCE
        assert record.barring[0].startswith(
            f"{SPOKEN} looked at 2 of 6 labels in its share of the time; all of it would"
        )

    def test_goes_on_from_what_was_finished(self, monkeypatch, tmp_path):
        first = run(Clock(1.0), monkeypatch, detectors=(QUICK,), budget=90.0, out=tmp_path / "run")
        second = run(Clock(1.0), monkeypatch, detectors=(QUICK,), budget=95.0, out=tmp_path / "run")

        assert len(first.labels) < len(second.labels)
        assert second.labels[0].norm == first.labels[0].norm

    def test_searches_small_groups_of_labels(self):
        plans = [Plan(detectors=(DETECTORS.create("neural_cleanse"),), budget=budget) for budget in (None, 60.0)]

        assert [plan.detectors[0].labels_at_once for plan in plans] == [16, 8]

    def test_leaves_out_references_that_it_has_no_time_for(self, monkeypatch):
        others = tuple(Reference(Source(f"{n}.pt", f"{n}" * 64), stage.model(planted=False)) for n in (1, 2))
        for number, one in enumerate(others):
            one.model.module.templates.weight.data.mul_(1 + 0.01 * number)
        record = run(Clock(1.0), monkeypatch, detectors=(QUICK,), references=others, budget=400.0)

        assert "Time sufficed for 1 of 2 references." in record.barring
        assert record.comparison.null.startswith("1 model of the same task, and with ")
        assert record.verdict is Verdict.SUSPICIOUS


def test_the_one_that_takes_longest_looks_last_and_is_named_first(monkeypatch):
    asked = []
    names = ("neural_cleanse", "mm_bd", "last_layer")

    def note(self, detector, *_):
        asked.append(detector.name)
        return dataclasses.replace(nothing(detector, self.model), missed=0)

    monkeypatch.setattr(looking.Looking, "_detect", note)
    record = run(Clock(), monkeypatch, detectors=names)

    assert asked == list(reversed(names))
    assert tuple(d.detector.partition("(")[0] for d in record.detections) == names
