"""Recovered triggers as a file: in full precision, where pictures have 256 shades."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import safetensors
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from mantrap.core import Classifier, ReversedTrigger
from mantrap.errors import RecordError
from mantrap.ops.recovered import KINDS, fit_images, made_of
from mantrap.records.files import write_atomically

TRIGGERS_FILE = "triggers.safetensors"
_MODEL = "mantrap.model"
_NAME = re.compile(r"(\d{1,6})\.(patch|perturbation|warp)\.(\d{1,6})\.(mask|pattern|delta|flow)")
_MOST_BYTES = 2**28


def save_triggers(path: Path, triggers: Sequence[ReversedTrigger], model_sha256: str) -> None:
    """Write triggers, in their order.

    Args:
        path: The file.
        triggers: What was recovered.
        model_sha256: Digest of the file of the model that they belong to.
    """
    write_atomically(path, save(_tensors(triggers), metadata={_MODEL: model_sha256}))


def digest_of(triggers: Sequence[ReversedTrigger]) -> str:
    """sha256 over all tensors of some triggers and their labels; nothing where there are none."""
    return hashlib.sha256(save(_tensors(triggers))).hexdigest() if triggers else ""


def _tensors(triggers: Sequence[ReversedTrigger]) -> dict[str, Tensor]:
    """Every tensor by what it is part of."""
    return {
        f"{number}.{kind}.{trigger.target}.{name}": tensor.detach().float().cpu().contiguous().clone()
        for number, trigger in enumerate(triggers)
        for kind in [next(name for name, one in KINDS.items() if isinstance(trigger, one))]
        for name, tensor in made_of(trigger).items()
    }


def load_triggers(path: Path, model: Classifier, model_sha256: str) -> tuple[ReversedTrigger, ...]:
    """Read triggers back.

    Args:
        path: The file; none where there is no file.
        model: The classifier that they belong to.
        model_sha256: Digest of its file.

    Raises:
        RecordError: The file is damaged, holds something else, or belongs to another model.
    """
    if not path.exists():
        return ()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _broken(path, f"{path.stat().st_size:,} bytes")
        with safe_open(path, framework="pt") as file:
            belongs = (file.metadata() or {}).get(_MODEL, "")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, safetensors.SafetensorError) as error:
        raise _broken(path, str(error)) from error
    if belongs != model_sha256:
        raise RecordError(
            expected=f"triggers of the model with sha256 {model_sha256[:16]}...",
            got=f"those of {belongs[:16] or 'no model'}... in {path}",
            remedy="Give the folder of an audit of this very model.",
        )
    return tuple(_triggers(path, tensors, model))


def _triggers(path: Path, tensors: dict[str, Tensor], model: Classifier) -> list[ReversedTrigger]:
    found: dict[int, tuple[str, int, dict[str, Tensor]]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise _broken(path, f"a tensor named {name!r:.80}")
        kind, target, parts = found.setdefault(int(match[1]), (match[2], int(match[3]), {}))
        if (kind, target) != (match[2], int(match[3])) or target >= model.num_classes:
            raise _broken(path, f"a trigger for label {match[3]} of a model of {model.num_classes} classes")
        parts[match[4]] = tensor
    return [_trigger(path, *found[number], model.input_shape) for number in sorted(found)]


def _trigger(
    path: Path, kind: str, target: int, parts: dict[str, Tensor], shape: tuple[int, int, int]
) -> ReversedTrigger:
    """One trigger, checked."""
    sound = all(tensor.dtype == torch.float32 and bool(tensor.isfinite().all()) for tensor in parts.values())
    whole = set(parts) == {field.name for field in fields(KINDS[kind])} - {"target"}
    if sound and whole and fit_images(parts, shape):
        low = -1.0 if kind == "perturbation" else 0.0
        ends = {name: tensor if kind == "warp" else tensor.clamp(low, 1) for name, tensor in parts.items()}
        return KINDS[kind](target=target, **ends)
    found = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in sorted(parts.items()))
    raise _broken(path, f"a {kind} of {found}, which is none of finite numbers for images of {shape}")


def _broken(path: Path, got: str) -> RecordError:
    return RecordError(expected=f"the triggers of an audit in {path}", got=got, remedy="Run the audit again.")
