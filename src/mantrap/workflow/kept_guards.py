"""Fitted guards as files: tensors and a card, no code; the model that they guard is opened by itself."""

from pathlib import Path

import safetensors
from safetensors import safe_open
from safetensors.torch import save

from mantrap.core import Classifier, Cost, FittedGuard, spec_of
from mantrap.errors import MantrapError, RecordError, UsageError
from mantrap.guard import GUARDS
from mantrap.records import GuardCard
from mantrap.records.files import write_atomically

SUFFIX = ".guard.safetensors"
MOST_BYTES = 2**30
"""What a guard's file may hold: clean images, or what the layers say to some hundreds of these."""
CARD = "mantrap.guard"
"""Under this name a guard's card lies in the metadata of files."""


def card_of(fitted: FittedGuard) -> GuardCard:
    """What lies in a guard's file beside its tensors."""
    model = fitted.model
    return GuardCard(
        guard=str(spec_of(fitted.guard)),
        threshold=fitted.threshold,
        fpr=fitted.fpr,
        calibrated_on=fitted.calibrated_on,
        model_digest=model.digest(),
        arch=model.arch,
        mean=model.mean,
        std=model.std,
        pixel_range=model.pixel_range,
    )


def guard_bytes(fitted: FittedGuard) -> tuple[bytes, GuardCard]:
    """A guard as a file, without its model, and the card in it."""
    card = card_of(fitted)
    return save(dict(fitted.learned), metadata={CARD: card.to_json()}), card


def save_guard(path: Path, fitted: FittedGuard) -> None:
    """Write a guard, without its model.

    Args:
        path: The file.
        fitted: A fitted guard.

    Raises:
        OutputError: The place cannot be written.
    """
    write_atomically(path, guard_bytes(fitted)[0])


def read_guard_card(path: Path) -> GuardCard:
    """The card in the file of a guard: what is known without the model.

    Raises:
        RecordError: The file is not there, damaged, or holds something else.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _broken(path, f"{path.stat().st_size:,} bytes")
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(CARD)
    except (OSError, safetensors.SafetensorError) as error:
        raise _broken(path, str(error)) from error
    if text is None:
        raise _broken(path, "tensors of something else")
    try:
        return GuardCard.from_json(text)
    except RecordError as error:
        raise _broken(path, error.got) from error


def load_guard(path: Path, model: Classifier) -> FittedGuard:
    """Read a guard back, for the model that it was fitted for.

    Args:
        path: Its file.
        model: The classifier, opened as it was then.

    Raises:
        RecordError: The file is damaged, or holds something else.
        UsageError: It was fitted for another model, or for this one with another preprocessing.
    """
    card = read_guard_card(path)
    if card.model_digest != model.digest():
        raise UsageError(
            expected=f"the model that {path.name} was fitted for, with the digest {card.model_digest[:16]}...",
            got=f"one with {model.digest()[:16]}...",
            remedy="Give that model, with the preprocessing that it had then, or fit a guard for this one.",
        )
    with safe_open(path, framework="pt") as file:
        learned = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    try:
        guard = GUARDS.create(card.guard)
        guard.scorer(model, learned)
    except MantrapError as error:
        raise _broken(path, error.got) from error
    return FittedGuard(guard, model, learned, card.threshold, card.fpr, card.calibrated_on, Cost())


def _broken(path: Path, got: str) -> RecordError:
    return RecordError(expected=f"the guard of a model in {path}", got=got, remedy="Fit it again with `mantrap guard`.")
