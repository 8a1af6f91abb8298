"""Open a model: as the user says, as a record knows it, or one that another is compared with."""

from pathlib import Path
from typing import TYPE_CHECKING

from mantrap.cli.options import Declared, Running
from mantrap.errors import UsageError
from mantrap.records import GuardCard, ModelRecord

if TYPE_CHECKING:
    from mantrap.core import Classifier, ImageSet
    from mantrap.workflow.measure import Clean


def open_said(
    path: Path, arch: str | None, shape: tuple[int, int, int] | None, declared: Declared, running: Running
) -> "Classifier":
    """A model as the user says, for images [c, h, w]."""
    from mantrap.models import open_model  # noqa: PLC0415 - torch

    return open_model(path, arch=arch, images_shape=shape, declared=declared.preprocessing(), device=running.device)


def open_known(
    path: Path,
    arch: str | None,
    images: "ImageSet",
    known: ModelRecord | GuardCard,
    declared: Declared,
    running: Running,
) -> "Classifier":
    """A model as the user says, and as a record knows it where nothing is said."""
    from mantrap.core import Spec  # noqa: PLC0415 - torch
    from mantrap.models import ARCHITECTURES, open_model  # noqa: PLC0415 - torch

    ours = Spec.parse(known.arch).name in ARCHITECTURES
    return open_model(
        path,
        arch=arch or (known.arch if ours else None),
        images_shape=images.shape,
        declared=declared.above(known),
        device=running.device,
    )


def open_beside(path: Path, arch: str | None, images: "ImageSet", declared: Declared, running: Running) -> "Classifier":
    """A model as its card says, or else as is said of the other."""
    from mantrap.models.cards import card_path  # noqa: PLC0415 - torch

    if card_path(path).is_file():
        arch, declared = None, Declared()
    return open_said(path, arch, images.shape, declared, running)


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
