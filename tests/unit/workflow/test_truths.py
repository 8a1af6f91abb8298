"""The truth lies in files of its own, comes back as it was, and is refused where these are not what was written."""

import dataclasses

import pytest
import safetensors.torch
import torch

from mantrap.core.truth import Backdoor, GroundTruth
from mantrap.errors import DataError, MissingDataError, OutputError, RecordError
from mantrap.records.files import sha256_of
from mantrap.workflow.truths import known_truth, load_truth, save_truth, truth_path

TRUTH = GroundTruth(
    attack="badnets",
    seed=3,
    backdoors=(
        Backdoor(
            trigger="patch", relabelling="all_to_one", target=0, training_trigger="patch(size=2)", poisoned=(1, 4)
        ),
        Backdoor(trigger="noise", relabelling="all_to_all", target=None, training_trigger="noise", covers=(2,)),
    ),
    classes=10,
    clean_digest="c",
    poisoned_digest="p",
    origin={"kind": "poisoned set"},
)
TENSORS = {"0.mask": torch.eye(3), "1.weight": torch.arange(6).view(2, 3), "0.colour": torch.tensor(0.5)}


def test_without_tensors_it_is_one_file_that_comes_back(tmp_path):
    out = tmp_path / "set.npz"
    assert save_truth(out, TRUTH, {}) == TRUTH
    assert truth_path(out) == tmp_path / "set.truth.json"
    assert [path.name for path in tmp_path.iterdir()] == ["set.truth.json"]
    assert load_truth(out) == (TRUTH, {})


def test_tensors_lie_beside_it_and_the_truth_names_their_digest(tmp_path):
    out = tmp_path / "model.safetensors"
    written = save_truth(out, TRUTH, TENSORS)
    beside = tmp_path / "model.truth.safetensors"
    assert written == dataclasses.replace(TRUTH, tensors_sha256=sha256_of(beside))
    truth, tensors = load_truth(out)
    assert truth == written
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert all(tensors[name].dtype == TENSORS[name].dtype for name in TENSORS)


def test_tensors_that_share_memory_or_want_gradients_are_written_as_they_look(tmp_path):
    whole = torch.rand(4, 4)
    tensors = {"0.turned": whole.T, "0.part": whole[1:3], "0.learned": torch.rand(2, requires_grad=True)}
    save_truth(tmp_path / "m", TRUTH, tensors)
    _, found = load_truth(tmp_path / "m")
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert not found["0.learned"].requires_grad


def test_the_same_truth_is_the_same_bytes_whatever_the_order_of_its_tensors(tmp_path):
    first = save_truth(tmp_path / "a", TRUTH, TENSORS)
    second = save_truth(tmp_path / "b", TRUTH, dict(reversed(TENSORS.items())))
    assert first == second
    assert truth_path(tmp_path / "a").read_bytes() == truth_path(tmp_path / "b").read_bytes()


def test_tensors_of_an_earlier_attack_do_not_stay(tmp_path):
    out = tmp_path / "set.npz"
    save_truth(out, TRUTH, TENSORS)
    save_truth(out, TRUTH, {})
    assert [path.name for path in tmp_path.iterdir()] == ["set.truth.json"]


def test_where_there_is_no_truth_its_place_is_named(tmp_path):
    with pytest.raises(MissingDataError, match=r"truth about set\.npz in .*set\.truth\.json, got nothing"):
        load_truth(tmp_path / "set.npz")


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe\x00", b'{"schema_version": "9.0"}'], ids=range(5))
def test_a_truth_that_cannot_be_read_is_refused(tmp_path, content):
    out = tmp_path / "set.npz"
    truth_path(out).write_bytes(content)
    with pytest.raises(RecordError):
        load_truth(out)
    assert known_truth(out) is None


def other_tensors(path):
    path.write_bytes(safetensors.torch.save({"0.mask": torch.zeros(3, 3)}))


@pytest.mark.parametrize(
    ("spoil", "got"),
    [
        (lambda path: path.unlink(), "No such file"),
        (other_tensors, "another digest"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "another digest"),
        (lambda path: path.write_bytes(b""), "another digest"),
    ],
    ids=["gone", "others", "short", "empty"],
)
def test_tensors_other_than_those_that_were_written_are_refused(tmp_path, spoil, got):
    out = tmp_path / "model.safetensors"
    written = save_truth(out, TRUTH, TENSORS)
    spoil(tmp_path / "model.truth.safetensors")
    with pytest.raises(DataError, match=rf"the tensors that the truth was written with in .*, got .*{got}"):
        load_truth(out)
    assert known_truth(out) == written  # the record itself is whole


def test_tensors_of_the_right_digest_that_are_none_are_refused(tmp_path):
    out = tmp_path / "model.safetensors"
    beside = tmp_path / "model.truth.safetensors"
    beside.write_bytes(b"no tensors")
    truth_path(out).write_text(dataclasses.replace(TRUTH, tensors_sha256=sha256_of(beside)).to_json())
    with pytest.raises(DataError, match="the tensors that the truth was written with"):
        load_truth(out)


def test_it_can_be_looked_for(tmp_path):
    out = tmp_path / "model.safetensors"
    assert known_truth(out) is None
    written = save_truth(out, TRUTH, TENSORS)
    assert known_truth(out) == written


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        save_truth(tmp_path / "file" / "set.npz", TRUTH, TENSORS)
