"""Open a model that another is compared with, or that an attacker has."""

from pathlib import Path
from typing import TYPE_CHECKING

from mantrap.cli.options import Declared, Running
from mantrap.errors import UsageError

if TYPE_CHECKING:
    from mantrap.core import Classifier, ImageSet
    from mantrap.workflow.measure import Clean


def open_beside(path: Path, arch: str | None, images: "ImageSet", declared: Declared, running: Running) -> "Classifier":
    """A model as its card says, or else as is said of the other."""
    from mantrap.models import Preprocessing, open_model  # noqa: PLC0415 - torch
    from mantrap.models.cards import card_path  # noqa: PLC0415 - torch

    carded = card_path(path).is_file()
    return open_model(
        path,
        arch=None if carded else arch,
        images_shape=images.shape,
        declared=Preprocessing() if carded else declared.preprocessing(),
        device=running.device,
    )


def clean_beside(path: Path, arch: str | None, images: "ImageSet", declared: Declared, running: Running) -> "Clean":
    """A clean model to compare with, and its card.

    Raises:
        UsageError: It says of itself that it is not clean.
    """
    from mantrap.models.cards import marked_backdoored, read_card  # noqa: PLC0415 - torch
    from mantrap.workflow.measure import Clean  # noqa: PLC0415 - torch

    if mark := marked_backdoored(path):
        raise UsageError(
            expected=f"a model without a backdoor in {path}",
            got=f"one that says {mark!r}",
            remedy="Give another --clean.",
        )
    return Clean(open_beside(path, arch, images, declared, running), read_card(path))
