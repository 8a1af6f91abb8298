"""``mantrap doctor``."""

import importlib.util
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = ("mantrap", "torch", "numpy", "pillow", "safetensors")
_EXTRAS = {"parquet": "pyarrow"}


def doctor() -> int:
    """Say what this machine has: versions, device, data sets, extras."""
    import torch  # noqa: PLC0415 - start-up

    from mantrap.data import NAMED  # noqa: PLC0415 - torch
    from mantrap.data.places import places  # noqa: PLC0415 - torch
    from mantrap.errors import MantrapError  # noqa: PLC0415
    from mantrap.models import device  # noqa: PLC0415 - torch

    lines = [f"python       {platform.python_version()} on {platform.system()} {platform.machine()}"]
    for package in _PACKAGES:
        try:
            lines.append(f"{package:<12} {version(package)}")
        except PackageNotFoundError:
            lines.append(f"{package:<12} not installed as a package")
    lines += [f"extra {e:<6} {'there' if importlib.util.find_spec(m) else 'not installed'}" for e, m in _EXTRAS.items()]
    lines.append(f"device       {device('auto')}, {torch.get_num_threads()} threads, {os.cpu_count()} processors")
    lines.append(f"data in      {', '.join(map(str, places()))}")
    for kind in NAMED:
        try:
            found = kind().load(kind.splits[0])
            lines.append(f"  {kind.name:<13} there ({len(found)} images in {kind.splits[0]})")
        except MantrapError as error:
            lines.append(f"  {kind.name:<13} {type(error).__name__}: {error.remedy}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
