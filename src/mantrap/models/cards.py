"""Save a model as safetensors with a card beside it, and read the card back."""

import math
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open

from mantrap.core import Classifier
from mantrap.errors import ModelError, RecordError, UsageError
from mantrap.models.architectures.base import FEWEST_CLASSES, MOST_CLASSES, MOST_PIXELS
from mantrap.records import ModelCard, TrainingRecord
from mantrap.records.files import sha256_of, write_atomically

_SUFFIX = ".safetensors"
_MOST_CARD = 64 * 2**20
_MARK = "mantrap.backdoored"
"""Key of the mark among a file's own metadata, so that it outlives the card."""


def save_model(
    model: Classifier,
    path: Path,
    *,
    training: TrainingRecord | None = None,
    notes: Sequence[str] = (),
    backdoored: str = "",
) -> ModelCard:
    """Write a model's weights to ``NAME.safetensors`` and what they do not say to ``NAME.card.json`` beside it.

    The card comes last and holds the digest of the weights, so after a crash between the two the pair is refused. The
    same model gives the same bytes.

    Args:
        model: The classifier; ``model.arch`` should be the spec that builds it again.
        path: Where to put the weights; ends in ``.safetensors``.
        training: How it was trained.
        notes: Sentences for whoever opens it.
        backdoored: A plain sentence that marks a model with a planted backdoor, in the card and in the file itself.

    Returns:
        The card.

    Raises:
        UsageError: The name does not end in ``.safetensors``.
        OutputError: The place cannot be written.
    """
    if path.suffix != _SUFFIX:
        raise UsageError(expected=f"a file name that ends in {_SUFFIX}", got=str(path), remedy="Rename the output.")
    # Each tensor gets memory of its own: safetensors refuses tied weights.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.module.state_dict().items()}
    write_atomically(path, safetensors.torch.save(tensors, metadata={_MARK: backdoored} if backdoored else None))
    card = ModelCard(
        arch=model.arch,
        num_classes=model.num_classes,
        class_names=model.class_names,
        input_shape=model.input_shape,
        mean=model.mean,
        std=model.std,
        pixel_range=model.pixel_range,
        sha256=sha256_of(path),
        training=training,
        notes=tuple(notes),
        backdoored=backdoored,
    )
    write_atomically(card_path(path), card.to_json().encode())
    return card


def card_path(path: Path) -> Path:
    """Where the card of a file of weights lies."""
    return path.with_suffix(".card.json")


def marked_backdoored(path: Path) -> str:
    """The sentence that marks a file of weights as backdoored; empty where nothing does.

    For whoever must not mistake such a model for a clean one. Opening a model does not ask, so no audit can.

    Raises:
        ModelError: The card is broken, or belongs to other weights.
    """
    card = read_card(path)
    if card is not None and card.backdoored:
        return card.backdoored
    try:
        with safe_open(path, framework="pt") as file:
            return str((file.metadata() or {}).get(_MARK, ""))
    except (OSError, SafetensorError):  # a file of torch.save, which has no such mark, or none at all
        return ""


def read_card(path: Path) -> ModelCard | None:
    """The card of a file of weights, checked against it; ``None`` where there is none.

    Only files named ``*.safetensors`` have cards. A card comes from whoever made the model, so its claims are bounded.

    Raises:
        ModelError: The card is broken, claims the impossible, or belongs to other weights.
    """
    beside = card_path(path)
    if path.suffix != _SUFFIX or not beside.is_file() or not path.is_file():
        return None
    try:
        if beside.stat().st_size > _MOST_CARD:
            raise _broken(beside, f"{beside.stat().st_size} bytes")
        card = ModelCard.from_json(beside.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, RecursionError, RecordError) as error:
        raise _broken(beside, str(error)) from error
    if problem := _impossible(card):
        raise _broken(beside, problem)
    found = sha256_of(path)
    if found != card.sha256:
        raise ModelError(
            expected=f"the weights that {beside.name} was written for (sha256 {card.sha256[:16]!r}...)",
            got=f"sha256 {found[:16]}... in {path.name}",
            remedy="Get both files again, or move the card away and give --arch.",
        )
    return card


def _impossible(card: ModelCard) -> str:
    """What a card claims that no image classifier can have; empty where all is well."""
    channels = card.input_shape[0]
    numbers = (*card.mean, *card.std, *card.pixel_range)
    claims = {
        f"kind {card.kind!r:.40}": card.kind == "model_card",
        f"an input shape of {card.input_shape}": all(1 <= side <= MOST_PIXELS for side in card.input_shape),
        f"{card.num_classes} classes": FEWEST_CLASSES <= card.num_classes <= MOST_CLASSES,
        f"{len(card.class_names)} names for {card.num_classes} classes": len(card.class_names) == card.num_classes,
        f"mean {card.mean} and std {card.std} for {channels} channels": all(
            len(values) in (0, 1, channels) for values in (card.mean, card.std)
        ),
        f"std {card.std}": all(value > 0 for value in card.std),
        f"a pixel range of {card.pixel_range}": card.pixel_range[0] < card.pixel_range[1],
        f"numbers {numbers}": all(math.isfinite(number) for number in numbers),
    }
    return next((claim for claim, holds in claims.items() if not holds), "")


def _broken(path: Path, got: str) -> ModelError:
    return ModelError(
        expected=f"a model card in {path}",
        got=f"{got:.400}",
        remedy="Get the card again, or move it away and give --arch.",
    )
