"""Processes that search along: the record is bitwise that of one process, and none of them is left behind."""

import json
import os
import pickle
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import partial

import pytest
import torch

import mantrap
from mantrap.core import Rng
from mantrap.detect import DETECTORS, PaperNeuralCleanse
from mantrap.errors import DataError, UsageError
from mantrap.models import open_model, wrap
from mantrap.workflow import helping
from mantrap.workflow.audit import audit
from mantrap.workflow.helping import Task
from mantrap.workflow.ledger import Ledger
from mantrap.workflow.looking import Looking
from mantrap.workflow.parting import parted
from mantrap.workflow.plan import Plan, Source, spelled
from mantrap.workflow.rundir import RunFolder
from mantrap.workflow.stopwatch import Stopwatch
from tests import helped, stage, strangers
from tests.planted import Planted

DETECTORS_USED = (stage.QUICK, PaperNeuralCleanse.quick)
PIECES = 3 + 6
"""Two labels in each of the one's pieces, one in each of the other's."""


@pytest.fixture(autouse=True)
def one_thread():
    """Arithmetic with one thread, as in a helper's process."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, root):
    """Other processes find the package and the tests where this one does."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [*sys.path, str(root)])))


@pytest.fixture
def started(monkeypatch):
    """The helpers that were started."""
    made = []

    class Noted(subprocess.Popen):
        def __init__(self, *given, **options):
            made.append(self)
            super().__init__(*given, **options)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    return made


@pytest.fixture
def temporary(monkeypatch, tmp_path):
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def module():
    """The planted network that waits, where it is told to."""
    network = helped.Helped()
    network.load_state_dict(stage.module(planted=True).state_dict())
    return network.eval()


def run(model, **options):
    """An audit from Python."""
    usual = {"arch": None if isinstance(model, torch.nn.Module) else helped.ARCH, "detectors": DETECTORS_USED}
    return mantrap.audit(model, stage.image_set(), **{"copy": False, "control": False, **usual, **options})


def pieces(folder):
    """Finished pieces in a run's folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("work/*/unit-*.safetensors"))


def stable(record):
    """The record as JSON without what may differ."""
    return json.dumps({k: v for k, v in json.loads(record.to_json()).items() if k != "volatile"})


class Ends:
    """An observer that ends the audit with an error, when a helper has made a piece or at once; it may wait before."""

    def __init__(self, error=None, *, note="", first=lambda: None):
        self.error, self.note, self.first = error, note, first

    @contextmanager
    def stage(self, *_):
        self.first()
        yield self

    def advance(self, _=1, note=""):
        if self.error is not None and self.note in note:
            raise self.error


class TestTheRecord:
    def test_of_a_file_is_bitwise_that_of_one_process_and_no_process_is_left(self, tmp_path, started, monkeypatch):
        path = stage.write_model(tmp_path, planted=True)
        alone = run(path, out=tmp_path / "alone")
        # The first process searches when a helper has made a piece.
        monkeypatch.setenv("FIRST_WAITS_FOR", f"{tmp_path}/run/work/*/unit-*.safetensors")
        together = run(path, workers=2, out=tmp_path / "run")

        assert stable(together) == stable(alone)
        assert all(any(e.norm is not None for e in d.labels) for d in alone.detections)  # what is equal says something
        assert (alone.volatile.workers, together.volatile.workers) == (1, 2)
        assert pieces(tmp_path / "run") == pieces(tmp_path / "alone")
        assert len(pieces(tmp_path / "run")) == PIECES
        assert len(started) == 1
        assert all(one.returncode is not None for one in started)
        assert json.loads((tmp_path / "run" / "audit.json").read_text())["volatile"]["workers"] == 2

    def test_of_many_labels_most_of_which_are_given_up_is_bitwise_the_same(self):
        many = Planted(shape=(1, 10, 12), classes=26, target=3)
        quick = "steps=40, images_per_step=8, final_steps=8, many=16, sample=16, labels_at_once=9"
        detectors = [f"neural_cleanse({quick})", f"universal_perturbation({quick})"]
        options = {"detectors": detectors, "copy": False, "control": False}
        alone, together = (mantrap.audit(many.model(), many.images(8, "scan"), workers=n, **options) for n in (1, 2))

        assert stable(together) == stable(alone)
        assert together.volatile.workers == 2
        assert [sum(e.given_up for e in d.labels) for d in alone.detections] == [7, 7]
        assert alone.comparison.standings[0].label == many.target
        one = mantrap.audit(many.model(), many.images(8, "scan"), **{**options, "detectors": detectors[:1]})
        assert [s.label for s in one.comparison.standings].index(many.target) == 0
        assert len(one.comparison.standings) == 26

    def test_of_a_network_in_memory_as_well_and_without_a_folder_nothing_is_left(self, temporary, started, monkeypatch):
        alone = run(module())
        monkeypatch.setenv("FIRST_WAITS_FOR", f"{temporary}/*/work/*/unit-*.safetensors")
        together = run(module(), workers=3)

        assert stable(together) == stable(alone)
        assert together.volatile.workers == 3
        assert len(started) == 2
        assert all(one.returncode is not None for one in started)
        assert list(temporary.iterdir()) == []

    def test_is_the_same_when_it_was_interrupted_and_its_labels_were_named_backwards(
        self, tmp_path, started, monkeypatch
    ):
        def search(labels, workers, out, progress):
            plan = Plan(
                detectors=tuple(map(DETECTORS.create, DETECTORS_USED)),
                labels=labels,
                copy=False,
                control=False,
                workers=workers,
            )
            model = wrap(module(), input_shape=(1, 16, 16))
            return audit(model, stage.image_set(), plan=plan, source=Source("", "ab"), out=out, progress=progress)

        alone = search((0, 1, 2, 3, 5), 1, None, Ends())
        monkeypatch.setenv("FIRST_WAITS_FOR", f"{tmp_path}/run/work/*/unit-*.safetensors")
        with pytest.raises(KeyboardInterrupt):
            search((5, 3, 2, 1, 0), 2, tmp_path / "run", Ends(KeyboardInterrupt(), note="from another process"))
        assert pieces(tmp_path / "run")
        assert not (tmp_path / "run" / "audit.json").exists()
        assert [one.returncode is not None for one in started] == [True]
        again = search((5, 3, 2, 1, 0), 2, tmp_path / "run", Ends())

        assert stable(again) == stable(alone)


class TestHelpersThatFail:
    @pytest.fixture
    def failing(self, monkeypatch):
        monkeypatch.setattr(helping, "_START", (sys.executable, "-c", "raise SystemExit(3)"))

    @pytest.mark.usefixtures("failing")
    def test_cost_nothing_but_time_and_are_not_counted(self, started):
        alone = run(module())
        together = run(module(), workers=3, progress=Ends(first=lambda: [one.wait() for one in started]))

        assert [one.returncode for one in started] == [3, 3]
        assert together.volatile.workers == 1
        assert stable(together) == stable(alone)

    def test_those_that_have_done_all_there_was_are_counted(self, started, monkeypatch):
        monkeypatch.setattr(helping, "_START", (sys.executable, "-c", "pass"))
        together = run(module(), workers=2, progress=Ends(first=lambda: [one.wait() for one in started]))

        assert [one.returncode for one in started] == [0]
        assert together.volatile.workers == 2

    @pytest.mark.parametrize("error", [RuntimeError("broken"), DataError(expected="a", got="b", remedy="C.")])
    def test_an_audit_that_fails_leaves_none_behind(self, started, temporary, monkeypatch, error):
        monkeypatch.setattr(helping, "_START", (sys.executable, "-c", "import time; time.sleep(60)"))
        with pytest.raises(type(error)):
            run(module(), workers=3, progress=Ends(error))

        assert [one.returncode for one in started] == [-15, -15]
        assert list(temporary.iterdir()) == []

    def test_one_that_goes_on_is_ended_with_the_audit(self, started, monkeypatch):
        monkeypatch.setattr(helping, "_START", (sys.executable, "-c", "import time; time.sleep(60)"))
        record = run(module(), workers=2)

        assert [one.returncode for one in started] == [-15]
        assert record.volatile.workers == 2


class TestWhatIsSent:
    def test_a_network_that_cannot_be_sent_is_refused_with_what_to_do(self, tmp_path, started):
        class Local(strangers.Templates):
            pass

        with pytest.raises(
            UsageError, match=r"cannot be sent to them, .*Local.*Give the path of a file of weights, or"
        ):
            run(Local().eval(), workers=2, out=tmp_path / "run")
        assert started == []
        assert not (tmp_path / "run").exists()
        assert run(Local().eval(), workers=1).verdict

    @pytest.mark.parametrize("workers", [0, -1])
    def test_without_a_process_there_is_no_audit(self, workers):
        with pytest.raises(UsageError, match=f"at least one worker, got {workers}"):
            run(module(), workers=workers)

    def test_one_process_starts_no_other(self, started, monkeypatch):
        monkeypatch.setattr(helping, "_START", None)

        assert run(module(), workers=1).volatile.workers == 1
        assert started == []


def looking(folder):
    """Whoever helps with an audit whose finished pieces lie in this folder."""
    plan = Plan(detectors=tuple(map(DETECTORS.create, DETECTORS_USED)))
    model = wrap(module(), input_shape=(1, 16, 16))
    return Looking(model, plan, RunFolder(folder, {}), Stopwatch(), Ledger(), Ends(), helping=True)


class TestAHelper:
    def test_makes_the_pieces_of_all_searches_and_nothing_else(self, tmp_path):
        one = looking(tmp_path)
        one.help(*parted(stage.image_set(), Rng(0)))

        assert len(pieces(tmp_path)) == PIECES
        assert one.ledger.records() == ()  # what a search came to, another process says
        assert sorted(p.name for p in tmp_path.iterdir()) == ["work"]

    def test_makes_those_that_nobody_is_at_and_waits_for_none(self, tmp_path):
        one = looking(tmp_path)
        with one.folder.shared_memo(spelled(one.plan.detectors[1]), helping=False).claim("unit-4-cpu") as ours:
            assert ours
            one.help(*parted(stage.image_set(), Rng(0)))
        made = pieces(tmp_path)

        assert len(made) == PIECES - 1
        assert [name for name in made if name.endswith("unit-4-cpu.safetensors")] == []

    @pytest.mark.parametrize(("gone", "made"), [(0, PIECES), (1, 0)])
    def test_is_told_all_by_its_task_and_ends_when_nobody_waits_for_it(self, tmp_path, gone, made):
        ended = start_alone(tmp_path, parent=os.getpid() + gone)

        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
        assert len(pieces(tmp_path / "run")) == made

    def test_runs_nothing_that_lies_in_the_working_folder(self, tmp_path, monkeypatch):
        (tmp_path / "safetensors.py").write_text("raise SystemExit(5)")
        monkeypatch.chdir(tmp_path)

        assert start_alone(tmp_path, parent=0).returncode == 0


def start_alone(folder, *, parent):
    """Start a helper of that process by hand, and wait for its end."""
    path = stage.write_model(folder, planted=True)
    opened = partial(open_model, path, arch=helped.ARCH, images_shape=(1, 16, 16))
    plan = Plan(detectors=tuple(map(DETECTORS.create, DETECTORS_USED)))
    with tempfile.TemporaryFile() as sent:
        pickle.dump(Task(opened, stage.image_set(), plan, folder / "run", 1, parent), sent)
        sent.seek(0)
        return subprocess.run(helping._START, stdin=sent, capture_output=True, check=False)
