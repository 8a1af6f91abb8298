"""What a layer is given to read, seen or changed on its way in, however its network calls it."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


def on_reading(layer: nn.Module, seen: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
    """Show a function what a layer is given, whether by place or by name.

    Args:
        layer: A layer that reads one tensor.
        seen: Gets that tensor; what it returns is read in its place, unless that is ``None``.

    Returns:
        What takes the hook away again.
    """

    def hook(_layer: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], Any] | None:
        first = next(iter(named)) if not given else ""
        made = seen(given[0] if given else named[first])
        if made is None:
            return None
        return ((made, *given[1:]), named) if given else (given, {**named, first: made})

    return layer.register_forward_pre_hook(hook, with_kwargs=True)
