"""Read the weights of a stranger's file as plain tensors. No code of the file runs."""

import mmap
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mantrap.errors import ModelError
from mantrap.models.pickles import foreign_names
from mantrap.models.sniffing import FETCH_AGAIN, SAVE_THE_WEIGHTS, Container, container_of, refused

_NESTED = ("state_dict", "model_state_dict", "model", "net")
_MOST_NESTING = 4
_LEGACY_PICKLES = 5
"""A file of torch.save before 1.6 has a magic number, a version, the system, the object, and keys of its numbers."""

_SPECIAL = {
    "torch._utils _rebuild_sparse_tensor": "sparse tensors",
    "torch._utils _rebuild_qtensor": "quantised tensors",
    "torch._utils _rebuild_meta_tensor_no_storage": "tensors without values (on the meta device)",
}


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a model file by name, on the CPU, as they are stored.

    safetensors, or a state dict of ``torch.save``, also where it lies under a key such as ``state_dict`` in a
    checkpoint. The format is told by the content, whatever the name says.

    Raises:
        MissingDataError: There is no such file.
        ModelError: The file is not one of these, is broken, names Python objects other than tensors, or holds tensors
            that are sparse, quantised, without values, or larger than the file.
    """
    container = container_of(path)
    if container is Container.SAFETENSORS:
        weights = _read_safetensors(path)
    else:
        _check_names(path, container)
        weights = _state_dict(_read_torch(path, container), path)
    if not weights:
        raise refused(path, "a file without a single tensor", SAVE_THE_WEIGHTS)
    _check_tensors(weights, path)
    return weights


def printable(name: object, limit: int = 80) -> str:
    """A name out of a file, in quotes and shortened, with what a terminal could obey escaped."""
    return f"{str(name)[:limit]!r}"


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- it is no mapping
    except (SafetensorError, ValueError, TypeError, AttributeError) as error:
        got = f"a broken or incomplete safetensors file ({printable(error)})"
        raise refused(path, got, FETCH_AGAIN) from error


def _read_torch(path: Path, container: Container) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=container is Container.TORCH_ZIP)
    except Exception as error:  # noqa: BLE001 -- a hostile file can make torch fail in any way
        got = f"a broken or incomplete PyTorch file ({type(error).__name__} while reading it)"
        # torch's own message invites the user to switch its safety off, so it goes no further.
        raise refused(path, got, FETCH_AGAIN) from None


def _check_names(path: Path, container: Container) -> None:
    """Refuse a pickle that names anything but what tensors need, without loading it."""
    try:
        if container is Container.TORCH_ZIP:
            with zipfile.ZipFile(path) as archive:
                member = next(name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl")
                with archive.open(member) as stream:
                    foreign = sorted(set(foreign_names(stream)))
        else:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
                foreign = sorted({name for _ in range(_LEGACY_PICKLES) for name in foreign_names(stream)})
    except (ValueError, LookupError, EOFError, OSError, RuntimeError, MemoryError, zipfile.BadZipFile) as error:
        raise refused(path, f"a broken or incomplete PyTorch file ({printable(error)})", FETCH_AGAIN) from error
    if foreign:
        kinds = sorted({_SPECIAL[name] for name in foreign if name in _SPECIAL})
        shown = ", ".join(printable(name.replace(" ", ".")) for name in foreign[:8])
        got = " and ".join(kinds) or f"a pickle that names more than tensors and could run code: {shown}"
        remedy = "Convert them to plain dense tensors." if kinds else SAVE_THE_WEIGHTS
        raise refused(path, got, remedy)


def _state_dict(loaded: object, path: Path) -> dict[str, Tensor]:
    """The mapping of tensors, also where it lies inside a checkpoint."""
    for _ in range(_MOST_NESTING):
        if not isinstance(loaded, Mapping):
            break
        inner = next((loaded[key] for key in _NESTED if isinstance(loaded.get(key), Mapping)), None)
        if inner is None:
            break
        loaded = inner
    if not isinstance(loaded, Mapping):
        got = f"{type(loaded).__name__} where the state dict should be"
        raise refused(path, got, SAVE_THE_WEIGHTS)
    others = [key for key, value in loaded.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if others:
        named = [printable(key) if isinstance(key, str) else f"a {type(key).__name__}" for key in others[:8]]
        shown = ", ".join(f"{name}: {type(loaded[key]).__name__}" for name, key in zip(named, others, strict=False))
        raise refused(path, f"a mapping with {len(others)} entries that are no tensors ({shown})", SAVE_THE_WEIGHTS)
    return {str(name): tensor.detach() for name, tensor in loaded.items()}


def _check_tensors(weights: Mapping[str, Tensor], path: Path) -> None:
    size, parts = path.stat().st_size, {}
    for name, tensor in weights.items():
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
            raise ModelError(
                expected=f"plain dense tensors in {path}",
                got=f"{printable(name)} of layout {tensor.layout}, type {tensor.dtype}, on {tensor.device}",
                remedy="Convert it to a plain dense tensor.",
            )
        # Two names may share one tensor (tied weights); it counts once.
        parts[tensor.data_ptr(), tuple(tensor.shape)] = tensor.numel() * tensor.element_size()
    if sum(parts.values()) > size:
        raise ModelError(
            expected=f"tensors that fit into the {size} bytes of {path}",
            got=f"{sum(parts.values())} bytes of them",
            remedy="Ask the owner for an honest file.",
        )
