"""``mantrap guard`` and ``mantrap filter``: what is measured is the record, what is flagged is the exit code."""

import json
import shlex

import numpy as np
import pytest
import safetensors.torch

from mantrap.ops.recovered import put_on
from mantrap.records import FilterRecord, GuardRecord
from mantrap.records.files import sha256_of
from mantrap.report import render_filter_text, render_guard_html, render_guard_text
from tests import headed, sourced, stage

USUAL = ["--arch", headed.ARCH, "--images", "tiles120.npz"]
FEW = ["--fpr", "0.1"]
pytestmark = pytest.mark.usefixtures("as_recovered")


@pytest.fixture
def guard(mantrap, audited, tmp_path):
    """Run ``mantrap guard`` with the fewest words."""

    def start(*words, kind="neuron_filter", out=tmp_path / "out.guard.safetensors"):
        return mantrap("guard", audited, *USUAL, *FEW, "--guard", kind, "--out", out, *words)

    return start


@pytest.fixture
def fitted(guard, tmp_path):
    """A guard's file."""
    assert guard("--json")[0] == 0
    return tmp_path / "out.guard.safetensors"


@pytest.fixture
def images(tmp_path):
    """A file of twelve images, of which two carry the trigger."""
    pixels, labels = stage.pixels(12)
    values = pixels.float() / 255
    values[[1, 5]] = put_on(values[[1, 5]], sourced.square())
    path = tmp_path / "mixed.npz"
    np.savez(path, x=(values * 255).round().byte()[:, 0].numpy(), y=labels.numpy())
    return path


class TestGuard:
    def test_a_graph_of_model_and_guard_is_written_also_where_the_guard_is_there_already(self, guard, fitted, tmp_path):
        pytest.importorskip("onnxscript")
        runtime = pytest.importorskip("onnxruntime")
        graph = tmp_path / "guarded.onnx"
        before = sha256_of(fitted)
        assert guard("--onnx", graph)[0] == 0
        session = runtime.InferenceSession(graph)
        assert [one.name for one in session.get_outputs()] == ["logits", "suspicion", "flagged"]
        assert sha256_of(fitted) == before

    def test_a_graph_of_another_name_is_refused_before_anything_is_fitted(self, guard, tmp_path):
        code, _, err = guard("--onnx", tmp_path / "guarded.pb")
        assert code == 2
        assert "ends in .onnx" in err
        assert not list(tmp_path.glob("out.guard.*"))

    def test_stdout_is_the_record_alone_and_all_lies_beside_the_guard(self, guard, tmp_path):
        code, out, err = guard("--json")
        record = GuardRecord.from_json(out)

        assert (code, err, record.outcome) == (0, "", "GUARDS")
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            f"out.guard.{kind}" for kind in ("html", "json", "safetensors")
        ]
        assert (tmp_path / "out.guard.json").read_text() == out
        assert (tmp_path / "out.guard.html").read_text() == render_guard_html(record)
        assert record.file_sha256 == sha256_of(tmp_path / "out.guard.safetensors")
        assert (record.card.guard, record.card.fpr) == ("neuron_filter", 0.1)

    def test_one_that_falls_short_is_a_finding(self, guard):
        # Mixed so faintly, all images are black, and no trigger is seen.
        code, out, _ = guard("--json", kind="strip(overlays=2, opacity=0.01)")
        record = GuardRecord.from_json(out)

        assert (code, record.outcome) == (1, "FALLS_SHORT")
        assert record.triggers[0].missed.value > 0.5

    def test_without_json_the_report_is_shown_as_text_and_the_page_is_named(self, guard, tmp_path):
        _, out, _ = guard()
        record = GuardRecord.from_json((tmp_path / "out.guard.json").read_text())

        assert out == f"{render_guard_text(record)}\n\nReport: {tmp_path / 'out.guard.html'}\n"

    def test_neighbours_guard_unless_another_is_named(self, mantrap, audited, tmp_path):
        out = tmp_path / "n.guard.safetensors"
        _, text, _ = mantrap("guard", audited, *USUAL, *FEW, "--out", out, "--json")

        assert GuardRecord.from_json(text).card.guard == "neighbours"

    def test_too_few_images_for_the_rate_are_usage_and_write_nothing(self, mantrap, audited, tmp_path):
        out = tmp_path / "few.guard.safetensors"
        code, _, err = mantrap("guard", audited, *USUAL, "--fpr", "0.001", "--out", out)

        assert code == 2
        assert "at least 1,998 different images" in err
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("words", [["--guard", "no_such"], ["--fpr", "2"]])
    def test_wrong_values_are_usage(self, mantrap, audited, tmp_path, words):
        code, _, err = mantrap("guard", audited, *USUAL, "--out", tmp_path / "x.guard.safetensors", *words)

        assert (code, err.count("\n")) == (2, 1)

    def test_the_recorded_command_gives_the_same_record_again(self, mantrap, guard):
        _, out, _ = guard("--json", "--seed", "0")
        first = GuardRecord.from_json(out)
        words = shlex.split(first.reproduction.command)[1:]
        again = GuardRecord.from_json(mantrap(*words, "--json", "--fresh")[1])

        assert again.file_sha256 == first.file_sha256
        assert {**vars(again), "volatile": None} == {**vars(first), "volatile": None}

    def test_report_renders_it_again(self, mantrap, fitted):
        record = GuardRecord.from_json(fitted.with_suffix(".json").read_text())
        code, out, _ = mantrap("report", fitted.with_suffix(".json"))

        assert (code, out) == (0, f"{render_guard_text(record)}\n")
        assert mantrap("report", fitted.with_suffix(".json"), "--format", "html")[1] == f"{render_guard_html(record)}\n"


class TestFilter:
    def filter(self, mantrap, fitted, place, images, *words):
        model = place / "headed.safetensors"
        return mantrap("filter", fitted, "--model", model, "--images", images, "--arch", headed.ARCH, *words)

    def test_what_is_flagged_is_listed_and_the_exit_code(self, mantrap, fitted, place, images):
        code, out, err = self.filter(mantrap, fitted, place, images, "--json")
        record = FilterRecord.from_json(out)

        assert (code, err) == (1, "")
        assert {1, 5} <= {one.number for one in record.flagged}
        assert record.share.total == 12
        assert record.model.sha256 == sha256_of(place / "headed.safetensors")

    def test_without_json_it_is_text(self, mantrap, fitted, place, images):
        record = FilterRecord.from_json(self.filter(mantrap, fitted, place, images, "--json")[1])

        assert self.filter(mantrap, fitted, place, images)[1] == f"{render_filter_text(record)}\n"

    def test_what_json_printed_is_shown_by_report(self, mantrap, fitted, place, images, tmp_path):
        saved = tmp_path / "flagged.json"
        saved.write_text(self.filter(mantrap, fitted, place, images, "--json")[1])
        record = FilterRecord.from_json(saved.read_text())

        assert mantrap("report", saved) == (0, f"{render_filter_text(record)}\n", "")

    def test_where_nothing_is_flagged_all_is_well(self, mantrap, fitted, place, tmp_path):
        pixels, _ = stage.pixels(3)
        np.savez(tmp_path / "three.npz", x=(pixels[:, 0] // 2).numpy())
        code, out, _ = self.filter(mantrap, fitted, place, tmp_path / "three.npz", "--json")

        assert (code, json.loads(out)["flagged"]) == (0, [])

    def test_another_model_is_refused_by_its_digest(self, mantrap, fitted, tmp_path, images):
        other = headed.write_model(tmp_path, planted=False)
        code, out, err = mantrap("filter", fitted, "--model", other, "--images", images, "--arch", headed.ARCH)

        assert (code, out) == (2, "")
        assert "out.guard.safetensors was fitted for" in err

    def test_another_preprocessing_is_another_model(self, mantrap, fitted, place, images):
        code, _, err = self.filter(mantrap, fitted, place, images, "--mean", "0.5")

        assert code == 2
        assert "with the preprocessing that it had then" in err

    @pytest.mark.parametrize(("data", "code"), [(None, 2), (b"no guard", 4), (safetensors.torch.save({}), 4)])
    def test_a_guard_that_is_not_there_or_broken_is_one_clear_error(self, mantrap, tmp_path, place, images, data, code):
        path = tmp_path / "bad.guard.safetensors"
        if data is not None:
            path.write_bytes(data)
        got, out, err = self.filter(mantrap, path, place, images)

        assert (got, out, err.count("\n")) == (code, "", 1)
