"""A control that was interrupted goes on where it was, and one for which there is no time bars the all-clear."""

import itertools

import pytest

from mantrap.core import SILENT
from mantrap.records import AuditRecord, CheckStatus, Verdict
from mantrap.workflow import looking
from tests import stage
from tests.controlled import SOURCE, check, plan, run, said, stable, usual

NO_TIME = "No control was planted: time did not suffice for it."
LONG = 100_000.0


pytestmark = pytest.mark.usefixtures("hasty")


@pytest.fixture
def cleared():
    """A whole audit of a clean model."""
    return usual()


def stop(*_, **__):
    raise KeyboardInterrupt


class TestStopped:
    @pytest.mark.parametrize("name", ["planting", "searching"])
    def test_it_goes_on_where_it_was_and_nobody_can_tell(self, cleared, tmp_path, name, monkeypatch):
        with monkeypatch.context() as patched:
            if name == "searching":
                patched.setattr(looking, "measure", stop)
            progress = SILENT if name == "searching" else stage.Interrupts()
            with pytest.raises(KeyboardInterrupt):
                run(out=tmp_path / "run", progress=progress)
        again = run(out=tmp_path / "run")

        assert stable(again) == stable(cleared)

    def test_what_was_searched_is_not_searched_again(self, cleared, tmp_path, monkeypatch):
        run(out=tmp_path / "run")
        monkeypatch.setattr("mantrap.detect.unit_search.UnitSearch._search", stop)

        assert stable(run(out=tmp_path / "run")) == stable(cleared)

    def test_two_runs_give_the_same_bytes_outside_volatile(self, cleared, tmp_path):
        assert stable(run(out=tmp_path / "run")) == stable(cleared)
        assert AuditRecord.from_json((tmp_path / "run" / "audit.json").read_text()).control == cleared.control

    def test_a_run_with_another_wish_for_a_control_is_another_run(self):
        model, images = stage.model(planted=False), stage.image_set(12)
        wishes = [plan(control=wish).identity(SOURCE, model, images) for wish in (None, True, False)]

        for one, other in itertools.combinations(wishes, 2):
            assert {k for k in one if one[k] != other[k]} == {"control"}


class TestABudget:
    """The clock is looked at once a step of a search, and once an update of the copy."""

    def until(self, ticking, monkeypatch, what):
        """How many seconds pass until a piece of work begins."""
        with monkeypatch.context() as patched:
            patched.setattr(looking, what, stop)
            with pytest.raises(KeyboardInterrupt):
                run(budget=LONG)
        return ticking.now

    def test_that_is_long_enough_changes_nothing(self, ticking, cleared):
        record = run(budget=LONG)

        assert (record.control, record.verdict, record.barring) == (cleared.control, Verdict.NO_EVIDENCE, ())
        assert ticking.now > 1000 / 2

    @pytest.mark.parametrize("what", ["plant", "measure"], ids=["planting", "searching"])
    def test_that_is_too_short_for_it_bars_the_all_clear_and_says_so(self, ticking, monkeypatch, what):
        seconds = self.until(ticking, monkeypatch, what)
        ticking.now = 0.0
        record = run(budget=seconds + 20)

        assert len(record.labels) == stage.CLASSES
        assert check(record) == said(NO_TIME, CheckStatus.WARNED)
        assert (record.verdict, record.barring, record.control) == (Verdict.INCONCLUSIVE, (NO_TIME,), None)
        assert "control" in [t.stage for t in record.volatile.stages]
        assert ticking.now < seconds + 60

    def test_that_ended_while_it_was_planted_is_no_other_run(self, ticking, monkeypatch, tmp_path):
        seconds = self.until(ticking, monkeypatch, "plant")
        ticking.now = 0.0
        short = run(budget=seconds + 20, out=tmp_path / "run")
        again = run(budget=LONG, out=tmp_path / "run")

        assert short.control is None
        assert stable(again) == stable(run(budget=LONG))

    def test_is_not_kept_for_a_control_that_is_not_made(self, ticking, monkeypatch):
        seconds = self.until(ticking, monkeypatch, "plant")
        ticking.now = 0.0
        record = run(budget=seconds + 20, control=False)

        assert (record.verdict, record.barring) == (Verdict.NO_EVIDENCE, ())
