"""What a module was like, to bring it back bitwise."""

from typing import Any

import torch
from torch import Tensor, nn

_NAMED = ("_parameters", "_buffers")
_WORDS = (torch.int64, torch.int32, torch.uint8)
"""As what bits are compared: the longest is the fastest."""


class Snapshot:
    """Modes, weights, buffers, gradients and hooks of a module and all below it, as they are now.

    Values are cloned, so it takes as much memory as the module.
    """

    def __init__(self, module: nn.Module) -> None:
        self._modules = [
            (m, m.training, {name: dict(table) for name, table in _tables(m).items()}) for m in module.modules()
        ]
        tensors = [*module.parameters(), *module.buffers()]
        self._tensors = [(t, t.requires_grad, t.grad) for t in tensors]
        grads = [t.grad for t in tensors if t.grad is not None]
        self._values = [(t, _writes(t), t.detach().clone()) for t in (*tensors, *grads)]

    def restore(self) -> None:
        """Bring everything back; values are written only where they have changed.

        A write through ``tensor.data`` is not counted by torch, so the values themselves are compared as well.
        """
        for module, training, before in self._modules:
            if module.training != training:
                module.training = training
            for name, table in _tables(module).items():
                table.clear()
                table.update(before.get(name, {}))
        for tensor, writes, value in self._values:
            if _writes(tensor) != writes or not _are_bitwise_equal(tensor.detach(), value):
                with torch.no_grad():
                    tensor.copy_(value)
        for tensor, requires_grad, grad in self._tensors:
            if tensor.is_leaf:
                tensor.requires_grad_(requires_grad)
            tensor.grad = grad


def _tables(module: nn.Module) -> dict[str, dict[Any, Any]]:
    """The tables in which a module holds its weights, buffers and hooks."""
    return {
        name: table
        for name, table in module.__dict__.items()
        if isinstance(table, dict) and (name in _NAMED or name.endswith("_hooks"))
    }


def _writes(tensor: Tensor) -> int:
    """How often a tensor has been written to in place."""
    count: int = tensor._version  # noqa: SLF001 - torch shows it nowhere else
    return count


def _are_bitwise_equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bits: 0 and -0 do not, and the same that is no number does."""
    words = next(word for word in _WORDS if all(_is_made_of(word, tensor) for tensor in (one, other)))
    return torch.equal(one.flatten().view(words), other.flatten().view(words))


def _is_made_of(word: torch.dtype, tensor: Tensor) -> bool:
    """Whether words fill all of a tensor, and begin where it begins."""
    counts = (tensor.numel(), tensor.storage_offset())
    return all(count * tensor.element_size() % word.itemsize == 0 for count in counts)
