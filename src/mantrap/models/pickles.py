"""Look through a pickle without loading it."""

import pickletools
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

_MOST_BYTES = 2 * 2**20
"""Bytes of pickled structure (names and shapes, without the numbers): enough for some 8,000 tensors."""
_MOST_NESTED = 100
"""Tuples inside tuples. Python hashes a nested tuple on the C stack, which a million of them overflow."""

_HARMLESS = frozenset(
    {
        "collections OrderedDict",
        "collections Counter",
        "_codecs encode",
        "torch Size",
        "torch device",
        "torch.nn.parameter Parameter",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char")),
        *(f"torch {kind}Storage" for kind in ("Byte", "Bool")),
        *(f"torch {kind}" for kind in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "bool", "uint8")),
    }
)
"""Names that a pickled state dict needs. torch would also allow some that can ask for any amount of memory."""


@runtime_checkable
class Stream(Protocol):
    """What a pickle is read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes."""

    def readline(self) -> bytes:
        """A line with its end."""


def foreign_names(stream: Stream) -> Iterator[str]:
    """Every name in a pickle that a state dict of plain tensors does not need. Reads up to the pickle's end.

    Raises:
        ValueError: The pickle is broken, too long or too deeply nested.
        LookupError: Likewise broken.
    """
    depths = _Depths()
    for opcode, argument, position in pickletools.genops(stream):  # type: ignore[arg-type] # it reads, and that is all
        if (position or 0) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES} bytes of structure")
        if opcode.name in ("GLOBAL", "INST") and argument not in _HARMLESS:
            yield str(argument)
        elif opcode.name in ("STACK_GLOBAL", "EXT1", "EXT2", "EXT4"):
            yield opcode.name
        if depths.after(opcode, argument) > _MOST_NESTED:
            raise ValueError(f"more than {_MOST_NESTED} tuples inside each other")


class _Depths:
    """The pickle machine's stack, with the depth of nested tuples in place of each value."""

    def __init__(self) -> None:
        self._stack: list[int] = []
        self._marks: list[int] = []
        self._memo: dict[Any, int] = {}

    def after(self, opcode: pickletools.OpcodeInfo, argument: Any) -> int:
        """Take one step; the depth of what it leaves on top of the stack."""
        name = opcode.name
        if name == "MARK":
            self._marks.append(len(self._stack))
            return 0
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = self._stack[-1]
            return self._stack[-1]
        depth = (
            self._memo[argument] if name in ("GET", "BINGET", "LONG_BINGET") else max(self._taken(opcode), default=0)
        )
        depth += name.startswith("TUPLE")
        self._stack += [depth] * len(opcode.stack_after)
        return depth

    def _taken(self, opcode: pickletools.OpcodeInfo) -> list[int]:
        kinds = opcode.stack_before
        taken: list[int] = []
        if pickletools.stackslice in kinds:
            mark = self._marks.pop()
            taken, self._stack[mark:] = self._stack[mark:], []
            kinds = kinds[: kinds.index(pickletools.markobject)]
        return taken + [self._stack.pop() for _ in kinds]
