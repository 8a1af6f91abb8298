"""``mantrap audit --reference``."""

import json

import pytest

from mantrap.models import save_model
from tests import stage


@pytest.fixture
def folder(tmp_path):
    """A folder with one model of the same task."""
    model = stage.model(planted=False)
    model.arch = stage.ARCH
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    save_model(model, trusted / "one.safetensors")
    return trusted


def test_files_and_folders_are_taken_and_the_command_names_them(audit, tmp_path, folder):
    code, out, _ = audit(tmp_path / "run", "--json", "--reference", folder, detector=stage.QUICK)
    raw = json.loads(out)

    assert code == 1
    assert [r["file_name"] for r in raw["references"]] == ["one.safetensors"]
    assert f"--reference {folder}" in raw["reproduction"]["command"]
    assert (tmp_path / "run" / "report.html").read_text().count("one.safetensors") == 1


def test_one_that_is_not_there_is_said_and_nothing_is_written(audit, tmp_path):
    code, _, err = audit(tmp_path / "run", "--reference", tmp_path / "nowhere")

    assert code == 2
    assert "nowhere, which is not there" in err
    assert not (tmp_path / "run").exists()
