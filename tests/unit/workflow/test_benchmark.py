"""A grid keeps every piece by what it depends on: it goes on after a kill, and one that changed makes what is new."""

import json
import pickle
import shutil
from contextlib import contextmanager

import pytest

from mantrap.engine import Here, Processes
from mantrap.errors import FailedError, OutputError, UsageError
from mantrap.records import CellState, GridRecord
from mantrap.workflow import benchmark as benchmarking
from mantrap.workflow import grid_work
from mantrap.workflow.benchmark import Benchmarking, benchmark
from mantrap.workflow.grid_jobs import subjects
from mantrap.workflow.grid_record import cells_of
from tests import gridding, headed

DEFENDER = {"images": gridding.DEFENDED, "triggers": headed.MARGINS}
EVERYTHING = [
    "attacked",
    "attacked",
    *["audit"] * 3,
    "clean",
    *["guard"] * 3,
    *["repair"] * 4,
    *["screen"] * 2,
    *["what"] * 3,
]
DONE, FAILED, NOT_RUN = CellState.DONE, CellState.FAILED, CellState.NOT_RUN


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return gridding.write_images(tmp_path_factory.mktemp("grid"))


@pytest.fixture(autouse=True)
def names():
    gridding.Breaking.tried.clear()
    with gridding.registered():
        yield


@pytest.fixture
def made(monkeypatch):
    """What is made from here on, in order, by what it is."""
    made, make = [], grid_work.make

    def noted(job, *, out):
        made.append(f"{str(job).partition(' ')[0]} {job.attack}")
        return make(job, out=out)

    monkeypatch.setattr(benchmarking, "make", noted)
    return made


def run(data, out, *, only="*", again=False, fresh=False, engine=None, **changes):
    work = Benchmarking(plan=gridding.plan(data, **changes), only=only, again=again, command="as typed")
    return benchmark(work, out, fresh=fresh, engine=engine)


def stable(record):
    """A record without what may differ."""
    return {name: value for name, value in json.loads(record.to_json()).items() if name != "volatile"}


def states(record):
    return {(cell.attack.partition("(")[0], cell.defence, cell.seed): cell.state for cell in record.cells}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A finished grid and its folder; nobody may change it."""
    folder = tmp_path_factory.mktemp("whole") / "grid"
    with gridding.registered():
        return run(data, folder), folder


def test_every_attack_meets_every_defence_that_says_something_of_it(whole):
    record, _ = whole
    margins = headed.MARGINS

    assert states(record) == {
        **{("clean", who, 0): DONE for who in (margins, "corner", "white")},
        **{("wired", who, 0): DONE for who in (margins, "corner", "closing", "idle")},
        **{("badnets", who, 0): DONE for who in (margins, "corner", "closing", "idle", "white")},
    }
    assert [model.attack for model in record.models] == ["clean", "wired", gridding.PATCHED]
    assert all(model.state is DONE and (model.sha256 == "") is False for model in record.models)


def test_the_record_is_written_and_models_and_audits_are_where_it_says(whole):
    record, folder = whole

    assert GridRecord.from_json((folder / "grid.json").read_text()) == record
    assert all((folder / model.file).is_file() for model in record.models)
    assert len(list(folder.glob("work/audits/*/audit.json"))) == 3
    assert set(record.volatile.cpu_seconds) == {cell.name for cell in record.cells}
    assert set(record.images) == {f"{record.plan.data[0]}/s0 {what}" for what in ("training", "defender", "test")}


def test_a_second_run_makes_nothing_and_says_the_same(data, whole, made):
    record, folder = whole

    assert stable(run(data, folder)) == stable(record)
    assert made == []


def test_the_same_grid_elsewhere_says_the_same(data, whole, tmp_path):
    assert stable(run(data, tmp_path / "out")) == stable(whole[0])


class Mailing:
    """An engine that sends task, items and results by mail, as processes do."""

    def map(self, task, items):
        for item in items:
            yield sent(sent(task)(sent(item)))


def sent(thing):
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - what was dumped a moment ago


OURS = {
    "attacks": ["badnets(target=1, rate=0.2)"],
    "detectors": [],
    "guards": ["neighbours"],
    "repairs": ["fine_tuning(updates=4)"],
    "screens": ["scan"],
}
"""What processes know that see nothing of the names of these tests."""


def test_work_and_results_can_be_sent_to_other_processes(data, whole, tmp_path):
    assert stable(run(data, tmp_path / "out", engine=Mailing())) == stable(whole[0])


@pytest.mark.slow
def test_several_processes_say_the_same(data, tmp_path):
    records = [run(data, tmp_path / str(k), engine=e, **OURS) for k, e in enumerate((Here(), Processes(workers=2)))]

    assert {cell.state for cell in records[0].cells} == {DONE}
    assert stable(records[0]) == stable(records[1])


def test_a_pattern_makes_a_part_and_what_that_needs(data, tmp_path, made):
    record = run(data, tmp_path / "out", only="idle")

    assert {key for key, state in states(record).items() if state is DONE} == {
        ("wired", "idle", 0),
        ("badnets", "idle", 0),
    }
    assert set(states(record).values()) == {DONE, NOT_RUN}
    assert [one.split()[0] for one in made] == [
        "clean",
        "attacked",
        "attacked",
        "what",
        "what",
        "what",
        "repair",
        "repair",
    ]
    assert [model.state for model in record.models] == [DONE, DONE, DONE]


@pytest.mark.parametrize(
    ("only", "count"),
    [
        ("*/wired/*", 4),
        ("wired", 4),
        ("guard", 3),
        ("s0", 12),
        ("s1", 0),
        ("corner", 3),
        ("*/closing/*", 2),
        ("d*g", 0),
    ],
)
def test_a_pattern_is_of_a_name_or_of_a_part(data, only, count):
    plan = gridding.plan(data)
    digests = {(str(data), 0): dict.fromkeys(("training", "defender", "test"), "")}
    cells = [cell for subject in subjects(plan, digests) for cell, _ in cells_of(subject, {})]

    assert sum(benchmarking._fits(cell, only) for cell in cells) == count
    assert len(cells) == 12


def test_a_pattern_that_fits_nothing_is_one_clear_error(data, tmp_path):
    with pytest.raises(UsageError, match=r"expected a pattern of cells such as .*got 'dog'"):
        run(data, tmp_path / "out", only="dog")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "new"),
    [
        ({"repairs": ["closing"], "attacks": [gridding.WIRED]}, []),
        ({"repairs": ["fine_tuning(updates=2)"]}, ["repair wired", "repair badnets"]),
        ({"test": {"images": 50}}, [*["what"] * 3, *["guard"] * 3, *["repair"] * 4]),
        ({"defender": DEFENDER | {"fpr": 0.1}}, ["guard"] * 3),
        (
            {"defender": DEFENDER | {"images": 70}},
            [*["what"] * 3, *["audit"] * 3, *["guard"] * 3, *["repair"] * 4, *["screen"] * 2],
        ),
        (
            {"attacks": ["blended(target=1)"], "screens": []},
            [f"{what} blended" for what in ("attacked", "what", "audit", "guard", "repair", "repair")],
        ),
        ({"training": {"images": 100, "recipe": "recipe(epochs=2, batch_size=16)"}}, EVERYTHING),
        ({"seeds": [0, 1], "attacks": [], "repairs": []}, ["clean", "what", "audit", "guard", "screen"]),
    ],
    ids=["fewer", "repair", "test images", "rate", "defender images", "attack", "training images", "seed"],
)
def test_a_changed_grid_makes_what_is_new_in_it(data, whole, tmp_path, made, changes, new):
    shutil.copytree(whole[1], tmp_path / "out")
    record = run(data, tmp_path / "out", **changes)
    begun = sorted(" ".join(one.replace("clean model", "clean").split("(")[0].split()) for one in made)

    assert set(states(record).values()) <= {DONE}
    assert [one.startswith(start) for one, start in zip(sorted(made), sorted(new), strict=True)] == [True] * len(new), (
        begun
    )


def test_a_piece_that_fails_is_shown_as_failed_and_the_others_go_on(data, tmp_path, made):
    given = {"attacks": [gridding.BROKEN, gridding.WIRED], "detectors": [], "screens": []}
    record = run(data, tmp_path / "out", **given)
    broken = [one for one in (*record.models, *record.cells) if one.attack == gridding.BROKEN]

    assert {state for key, state in states(record).items() if key[0] != gridding.BROKEN} == {DONE}
    assert {one.state for one in broken} == {FAILED}
    assert broken[0].failure == (
        f"attacked model {data}/{gridding.ARCH}/breaking/s0 failed: ZeroDivisionError: nothing to divide by"
    )
    assert {one.failure for one in broken} == {broken[0].failure}
    assert broken[0].file == broken[0].sha256 == ""
    assert not [one for one in made if one.split()[0] in ("guard", "repair") and gridding.BROKEN in one]
    assert len(gridding.Breaking.tried) == 1


def test_what_failed_is_tried_again_only_when_somebody_says_so(data, tmp_path):
    given = {"attacks": [gridding.BROKEN], "detectors": [], "screens": [], "guards": []}
    first = run(data, tmp_path / "out", **given)
    assert stable(run(data, tmp_path / "out", **given)) == stable(first)
    assert len(gridding.Breaking.tried) == 1
    assert stable(run(data, tmp_path / "out", again=True, **given)) == stable(first)
    assert len(gridding.Breaking.tried) == 2


def test_what_failed_and_is_mended_is_made_with_again(data, tmp_path, monkeypatch):
    given = {"attacks": [gridding.BROKEN], "detectors": [], "screens": [], "guards": []}
    run(data, tmp_path / "out", **given)
    monkeypatch.setattr(gridding.Breaking, "implant", gridding.Wired.implant)
    record = run(data, tmp_path / "out", again=True, **given)

    assert set(states(record).values()) == {DONE}
    assert [model.state for model in record.models] == [DONE, DONE]


def test_a_defence_that_fails_fails_alone(data, tmp_path, monkeypatch):
    def diverges(*_, **__):
        raise FailedError(expected="a finite loss", got="nan", remedy="Lower the learning rate.")

    monkeypatch.setattr(gridding.Closing, "repair", diverges)
    record = run(data, tmp_path / "out", attacks=[gridding.WIRED], detectors=[], screens=[])
    failed = [cell for cell in record.cells if cell.state is FAILED]

    assert [(cell.defence, cell.failure) for cell in failed] == [
        ("closing", "expected a finite loss, got nan. Lower the learning rate.")
    ]
    assert failed[0].repaired is None


def test_a_disk_that_is_full_is_no_failure_of_a_cell(data, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OutputError(expected="to write", got="no room", remedy="Make room.")

    monkeypatch.setattr(gridding.Closing, "repair", full)
    given = {"attacks": [gridding.WIRED], "detectors": [], "screens": [], "guards": []}
    with pytest.raises(OutputError, match="no room"):
        run(data, tmp_path / "out", **given)
    monkeypatch.undo()
    with gridding.registered():
        assert set(states(run(data, tmp_path / "out", **given)).values()) == {DONE}


class Killed(BaseException):
    """What no piece of work can catch."""


def test_after_a_kill_the_same_call_goes_on_and_loses_one_piece_at_most(data, whole, tmp_path, made, monkeypatch):
    def killed(*_, **__):
        raise Killed

    monkeypatch.setattr(gridding.Idle, "repair", killed)
    with pytest.raises(Killed):
        run(data, tmp_path / "out")
    assert not (tmp_path / "out" / "grid.json").exists()
    before = len(list(tmp_path.glob("out/work/pieces/*.json")))
    assert before == len(made) - 1  # all but the one that was at work
    monkeypatch.undo()
    with gridding.registered():
        assert stable(run(data, tmp_path / "out")) == stable(whole[0])


def test_a_model_that_is_gone_or_changed_is_made_anew(data, whole, tmp_path, made):
    record, folder = whole
    shutil.copytree(folder, tmp_path / "out")
    clean, gone, changed = (tmp_path / "out" / model.file for model in record.models)
    gone.unlink()
    for path in (clean, changed):
        path.write_bytes(b"not what it was")

    assert stable(run(data, tmp_path / "out")) == stable(record)
    assert sorted(made) == sorted(["clean clean", f"attacked {gridding.WIRED}", f"attacked {gridding.PATCHED}"])


def test_a_piece_that_is_damaged_is_made_anew(data, whole, tmp_path, made):
    shutil.copytree(whole[1], tmp_path / "out")
    pieces = sorted((tmp_path / "out" / "work" / "pieces").glob("*.json"), key=lambda path: path.stat().st_size)
    pieces[0].write_text("{}")
    pieces[1].write_text(pieces[-1].read_text())  # that of another piece

    assert stable(run(data, tmp_path / "out")) == stable(whole[0])
    assert len(made) == 2


def test_fresh_throws_away_what_is_there_and_a_strange_folder_is_refused(data, tmp_path, made):
    given = {"attacks": [], "repairs": [], "detectors": [], "screens": []}
    run(data, tmp_path / "out", **given)
    count = len(made)
    run(data, tmp_path / "out", fresh=True, **given)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("mine")

    assert len(made) == 2 * count
    with pytest.raises(OutputError, match=r"thesis\.txt"):
        run(data, tmp_path / "other", **given)


def test_progress_counts_the_pieces(data, tmp_path):
    class Watch:
        total, done, notes = 0, 0, ()

        @contextmanager
        def stage(self, _, total):
            self.total = total
            yield self

        def advance(self, amount=1, note=""):
            self.done += amount
            self.notes += (note,)

    watch = Watch()
    work = Benchmarking(plan=gridding.plan(data, attacks=[gridding.BROKEN], screens=[], guards=["corner"]))
    benchmark(work, tmp_path / "out", progress=watch)

    assert watch.done == watch.total == 4 + 2 + 2 + 2  # made, measured, audited, guarded, repaired by two
    assert any(note.startswith("guard ") for note in watch.notes)
