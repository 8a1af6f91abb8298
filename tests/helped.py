"""A network that waits for what another process does: who makes which piece of a search is then no matter of speed."""

import glob
import os
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from tests.strangers import Templates

ARCH = f"{__file__}:Helped"
_LONGEST = 120
"""Seconds after which nobody waits any more, so that a test fails and does not hang."""


class Helped(Templates):
    """The stage's network, but in a search each process waits until there is a file of a pattern that is named for it.

    The pattern is ``$FIRST_WAITS_FOR`` for the process that audits, and ``$HELPERS_WAIT_FOR`` for those that help, each
    of which puts a file named by its number into ``$HELPERS``.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Logits [n, 6] of images [n, 1, 16, 16]."""
        if torch.is_grad_enabled():
            # Tests that run side by side are started by ``-c`` as well, but know pytest.
            helping = sys.argv[:1] == ["-c"] and "pytest" not in sys.modules
            if helping and "HELPERS" in os.environ:
                Path(os.environ["HELPERS"], str(os.getpid())).touch()
            wait_for(os.environ.get("HELPERS_WAIT_FOR" if helping else "FIRST_WAITS_FOR", ""))
        return super().forward(images)


def wait_for(pattern: str) -> None:
    """Return when there is a file of this pattern."""
    until = time.monotonic() + _LONGEST
    while pattern and not glob.glob(pattern):  # noqa: PTH207 - a pattern of whole paths
        if time.monotonic() > until:
            raise TimeoutError(pattern)
        time.sleep(0.02)
