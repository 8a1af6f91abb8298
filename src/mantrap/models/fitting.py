"""Bring weights and network together, or say exactly why they do not fit."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mantrap.errors import ModelError
from mantrap.models.outputs import times
from mantrap.models.weights import printable

_PREFIXES = ("module.", "_orig_mod.")
"""What nn.DataParallel and torch.compile put in front of every name."""
_COUNTER = "num_batches_tracked"
_SHOWN = 8


def without_prefix(weights: Mapping[str, Tensor], expected: Sequence[str]) -> dict[str, Tensor]:
    """The weights without a prefix that all of them carry and the network does not know."""
    bare = dict(weights)
    while prefix := next((p for p in _PREFIXES if all(name.startswith(p) for name in bare)), None):
        if all(name.startswith(prefix) for name in expected):
            break
        bare = {name.removeprefix(prefix): tensor for name, tensor in bare.items()}
    return bare


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], *, tried: str) -> nn.Module:
    """Put weights into a network, as float32.

    Names and shapes are compared first, so a network on the meta device gets its memory only when the weights fit.
    Counters of batch normalisation may be missing; they change no output.

    Args:
        module: The network; it is changed.
        weights: Tensors by name.
        tried: What the network is, for the message.

    Returns:
        The network, in evaluation mode.

    Raises:
        ModelError: Names or shapes do not fit (all kinds of misfit are listed), or weights are not finite.
    """
    wanted = {name: tensor for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor)}
    given = without_prefix(weights, list(wanted))
    for name, tensor in wanted.items():
        if name.rpartition(".")[2] == _COUNTER and name not in given:
            given[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
    shared = [name for name in wanted if name in given]
    wrong = [name for name in shared if wanted[name].shape != given[name].shape]
    problems = [
        _listed("missing", [printable(name) for name in wanted if name not in given]),
        _listed("unexpected", [printable(name) for name in given if name not in wanted]),
        _listed("of another shape", [f"{printable(n)} {_shape(given[n])} for {_shape(wanted[n])}" for n in wrong]),
    ]
    if any(problems):
        raise ModelError(
            expected=f"weights that fit {tried}",
            got="; ".join(problem for problem in problems if problem),
            remedy="Name the architecture that the weights were made for with --arch, its sizes and options included.",
        )
    if any(tensor.is_meta for tensor in wanted.values()):
        module.to_empty(device="cpu")
    module.float()
    module.load_state_dict(given)
    refuse_non_finite(module)
    return module.eval()


def refuse_non_finite(module: nn.Module) -> None:
    """Raise a ModelError that names every weight or buffer with a NaN or an infinity in it."""
    bad = [name for name, tensor in module.state_dict().items() if isinstance(tensor, Tensor) and not _finite(tensor)]
    if bad:
        raise ModelError(
            expected="finite weights",
            got=_listed("NaN or infinite values in", [printable(name) for name in bad]),
            remedy="Get a model whose training did not diverge, or whose file is not damaged.",
        )


def _finite(tensor: Tensor) -> bool:
    return bool(torch.isfinite(tensor).all())


def _listed(what: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{what}: {', '.join(names[:_SHOWN])}{more}" if names else ""


def _shape(tensor: Tensor) -> str:
    return times(tensor.shape) or "scalar"
