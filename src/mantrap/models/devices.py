"""Where a model computes. This is the only file that names an accelerator."""

import torch

from mantrap.errors import UsageError

_ACCELERATOR = "cuda"


def device(name: str = "auto") -> torch.device:
    """The device of this name.

    Args:
        name: ``auto`` (the accelerator where there is one), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: There is no such device, or not on this machine.

    Example:
        >>> device("cpu")
        device(type='cpu')
    """
    present = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device(_ACCELERATOR if present else "cpu")
    kind, _, number = name.partition(":")
    if name == "cpu":
        return torch.device(name)
    known = kind == _ACCELERATOR and (number.isdecimal() if ":" in name else True)
    if known and int(number or 0) < present:
        return torch.device(name)
    raise UsageError(
        expected="a device out of auto, cpu, cuda, cuda:N",
        got=f"{name!r} on a machine with {present} CUDA devices" if known else repr(name),
        remedy="Choose --device auto or --device cpu.",
    )
