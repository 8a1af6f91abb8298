"""Models of the same task that the user trusts: what they change, and which of them are refused."""

import dataclasses
import json

import pytest
import torch

from mantrap import audit as from_python
from mantrap.detect import DETECTORS
from mantrap.errors import MissingDataError, UsageError
from mantrap.models import save_model, wrap
from mantrap.records import AuditRecord, CheckStatus, Nulls, Verdict
from mantrap.workflow import comparing
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Reference, Source
from mantrap.workflow.references import reference_files
from tests import stage
from tests.nulls import SHIFTS, null_of

QUICK = DETECTORS.create(stage.QUICK)


@pytest.fixture(autouse=True)
def models_of_one_task_agree(monkeypatch):
    known = Nulls(nulls=(null_of(together=2.0, alike=0.6),), shifts=SHIFTS)
    monkeypatch.setattr(comparing, "known_nulls", lambda: known)


def other(number, *, planted=False):
    """A model of the same task whose weights are nearly those of the stage's."""
    module = stage.module(planted=planted)
    with torch.no_grad():
        module.templates.weight.mul_(1 + 0.01 * number)
    model = wrap(module, input_shape=(1, stage.SIDE, stage.SIDE))
    return Reference(Source(f"other{number}.safetensors", f"{number:064d}"), model)


def run(*references, planted=True, detectors=(QUICK,), **options):
    plan = Plan(detectors=detectors, references=references, command="as typed")
    source = Source("tiles.safetensors", "ab" * 32)
    return audit(stage.model(planted=planted), stage.image_set(), plan=plan, source=source, **options)


class TestAnAudit:
    def test_measures_each_of_them_as_it_measures_the_model(self):
        record = run(other(1), other(2))
        cost = {c.stage: (c.forward, c.backward) for c in record.cost}

        assert [r.file_name for r in record.references] == ["other1.safetensors", "other2.safetensors"]
        assert cost["references"] == tuple(2 * images for images in cost["neural_cleanse"])
        assert record.comparison.null == "2 models of the same task, and with numbers that tests can count on"
        assert AuditRecord.from_json(record.to_json()) == record

    def test_says_that_they_were_measured(self):
        (check,) = [c for c in run(other(1)).checks if c.name == "references"]

        assert check.status is CheckStatus.PASSED
        assert check.message == "Beside it 1 model of the same task was measured."

    def test_still_finds_what_they_do_not_share(self):
        alone, beside = run(), run(other(1), other(2))

        assert beside.verdict is Verdict.SUSPICIOUS
        assert beside.suspects[0].label == stage.TARGET
        assert beside.comparison.p_value < alone.comparison.p_value

    def test_takes_for_ordinary_what_they_share_and_says_that_they_look_strange(self):
        alone, beside = run(), run(*(other(n, planted=True) for n in range(1, 4)))
        (check,) = [c for c in beside.checks if c.name == "references"]

        assert alone.verdict is Verdict.SUSPICIOUS
        assert beside.verdict is not Verdict.SUSPICIOUS
        assert beside.comparison.p_value > alone.comparison.p_value
        assert check.status is CheckStatus.WARNED
        assert check.message in beside.barring
        assert "other2.safetensors, by label 4" in check.message

    def test_leaves_the_values_that_were_measured_as_they_are(self):
        alone, beside = run(), run(other(1))

        assert beside.labels == alone.labels
        values = [[(t.label, t.value) for t in r.detections[0].traits] for r in (alone, beside)]
        assert values[0] == values[1]

    def test_asks_only_detectors_that_compare_labels(self):
        record = run(other(1), detectors=(QUICK, DETECTORS.create("all_to_all_patch(steps=4, images_per_step=4)")))
        cost = {c.stage: (c.forward, c.backward) for c in record.cost}

        assert cost["references"] == cost["neural_cleanse"]

    def test_without_any_is_what_it_was(self):
        record = run()

        assert record.references == ()
        assert "references" not in {c.stage for c in record.cost}
        assert "references" not in {c.name for c in record.checks}

    def test_goes_on_where_it_was_stopped(self, tmp_path, monkeypatch):
        def stop(*_):
            raise KeyboardInterrupt

        whole = run(other(1), out=tmp_path / "whole")
        with monkeypatch.context() as patched:
            patched.setattr("mantrap.workflow.looking.check_of", stop)
            with pytest.raises(KeyboardInterrupt):
                run(other(1), out=tmp_path / "stopped")
        with monkeypatch.context() as patched:
            patched.setattr("mantrap.detect.unit_search.UnitSearch._search", stop)
            again = run(other(1), out=tmp_path / "stopped")

        def stable(record):
            return json.dumps({k: v for k, v in json.loads(record.to_json()).items() if k != "volatile"})

        assert stable(again) == stable(whole)


class TestRefused:
    def test_is_a_reference_of_other_classes(self):
        reference = other(1)
        narrower = torch.nn.Sequential(reference.model.module, torch.nn.Linear(6, 5))
        model = wrap(narrower, input_shape=(1, stage.SIDE, stage.SIDE))

        with pytest.raises(UsageError, match=r"other1\.safetensors of 5 classes"):
            run(dataclasses.replace(reference, model=model))

    def test_is_one_of_other_images(self):
        model = wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 6)), input_shape=(1, 8, 8))

        with pytest.raises(UsageError, match=r"images of \(1, 8, 8\)"):
            run(Reference(Source("small.safetensors", "1" * 64), model))

    def test_is_one_that_names_its_classes_in_another_order(self):
        model, reference = stage.model(planted=True), other(1)
        model.class_names = tuple("abcdef")
        reference.model.class_names = tuple("fedcba")
        plan = Plan(detectors=(QUICK,), references=(reference,))

        with pytest.raises(UsageError, match="another order"):
            audit(model, stage.image_set(), plan=plan, source=Source("tiles", "ab" * 32))

    def test_is_one_that_is_there_twice_though_under_another_name(self):
        again = dataclasses.replace(other(1), source=Source("again.pt", "2" * 64))

        with pytest.raises(UsageError, match=r"again\.pt, which is other1\.safetensors"):
            run(other(1), again)

    def test_is_one_of_another_network(self):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(stage.SIDE**2, 6))
        model = wrap(network, input_shape=(1, stage.SIDE, stage.SIDE))

        with pytest.raises(UsageError, match=r"references of the same network, Templates, got dense\.pt, a Sequential"):
            run(Reference(Source("dense.pt", "1" * 64), model))

    def test_is_the_model_itself(self):
        itself = Reference(Source("copy.safetensors", "1" * 64), stage.model(planted=True))

        with pytest.raises(UsageError, match=r"copy\.safetensors, which is the model in question"):
            run(itself)


class TestFiles:
    def test_are_those_of_a_folder_by_name_and_nothing_else(self, tmp_path):
        for name in ("b.safetensors", "a.safetensors", "c.pth", "notes.txt"):
            (tmp_path / name).write_bytes(b"")
        one = tmp_path / "b.safetensors"

        assert [p.name for p in reference_files([one, tmp_path])] == ["b.safetensors", "a.safetensors", "c.pth"]

    @pytest.mark.parametrize("name", ["nowhere", "empty"])
    def test_must_be_there(self, tmp_path, name):
        (tmp_path / "empty").mkdir()

        with pytest.raises(MissingDataError, match=name):
            reference_files([tmp_path / name])

    def test_that_are_marked_as_backdoored_are_refused(self, tmp_path):
        path = tmp_path / "bad.safetensors"
        save_model(stage.model(planted=True), path, backdoored="This one is for tests alone.")

        with pytest.raises(UsageError, match="This one is for tests alone"):
            reference_files([path])

    def test_of_a_folder_serve_from_python(self, tmp_path):
        for number in (1, 2):
            save_model(with_arch(other(number).model), tmp_path / f"m{number}.safetensors")
        record = from_python(
            stage.module(planted=True),
            stage.image_set(),
            arch=stage.ARCH,
            detectors=[stage.QUICK],
            references=[tmp_path, other(3).model.module],
        )

        assert [r.file_name for r in record.references][:2] == ["m1.safetensors", "m2.safetensors"]
        assert len(record.references) == 3
        assert "references=['m1.safetensors', 'm2.safetensors', " in record.reproduction.command
        assert record.verdict is Verdict.SUSPICIOUS


def with_arch(model):
    """The model, said to be of the stage's architecture."""
    model.arch = stage.ARCH
    return model
