"""Keep the truth about an attack in files of its own, away from what a defender gets."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from mantrap.core.truth import GroundTruth
from mantrap.errors import DataError, MissingDataError, RecordError
from mantrap.records.files import sha256_of, write_atomically

_TRUTH = ".truth.json"


def truth_path(out: Path) -> Path:
    """Where the truth about a poisoned set or a backdoored model lies; what was learned lies beside it.

    Of a path that is the truth's own, that path.
    """
    return out if out.name.endswith(_TRUTH) else out.with_suffix(_TRUTH)


def save_truth(out: Path, truth: GroundTruth, tensors: Mapping[str, Tensor]) -> GroundTruth:
    """Write ``NAME.truth.json`` and, where the attack learned something, ``NAME.truth.safetensors``.

    Returns:
        The truth as it was written, with the digest of the tensors.

    Raises:
        OutputError: The place cannot be written.
    """
    beside = _tensors_path(out)
    if tensors:
        plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(tensors.items())}
        write_atomically(beside, safetensors.torch.save(plain))
        truth = dataclasses.replace(truth, tensors_sha256=sha256_of(beside))
    write_atomically(truth_path(out), truth.to_json().encode())
    if not tensors:
        beside.unlink(missing_ok=True)  # of an earlier attack
    return truth


def known_truth(out: Path) -> GroundTruth | None:
    """The truth that lies beside a place; ``None`` where there is none that can be read."""
    try:
        return GroundTruth.from_json(truth_path(out).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecordError):
        return None


def load_truth(out: Path) -> tuple[GroundTruth, dict[str, Tensor]]:
    """The truth about a poisoned set or a backdoored model, and what the attack learned.

    Raises:
        MissingDataError: There is none.
        DataError: The tensors are not those that the truth was written with.
        RecordError: The truth cannot be read.
    """
    path = truth_path(out)
    if not path.is_file():
        raise MissingDataError(
            expected=f"the truth about {out.name} in {path}", got="nothing", remedy="Put the file beside the other."
        )
    try:
        truth = GroundTruth.from_json(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise RecordError(
            expected=f"the truth about {out.name} in {path}", got=f"no text ({error})", remedy="Get the file again."
        ) from error
    if not truth.tensors_sha256:
        return truth, {}
    beside = _tensors_path(out)
    try:
        whole = sha256_of(beside) == truth.tensors_sha256
        tensors = safetensors.torch.load_file(beside) if whole else {}
    except (OSError, SafetensorError) as error:
        raise _unfit(beside, str(error)) from error
    if not whole:
        raise _unfit(beside, "another digest")
    return truth, tensors


def _tensors_path(out: Path) -> Path:
    return truth_path(out).with_suffix(".safetensors")


def _unfit(beside: Path, got: str) -> DataError:
    return DataError(
        expected=f"the tensors that the truth was written with in {beside}", got=got, remedy="Get both files again."
    )
