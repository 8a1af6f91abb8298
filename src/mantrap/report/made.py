"""Models that were made, as text: the card of one that was trained, and the record of one that was attacked."""

from mantrap.records import ImplantRecord, ModelCard, TrainingRecord
from mantrap.report.measured import backdoor_lines
from mantrap.report.words import scrub, share


def render_card_text(card: ModelCard) -> str:
    """What a card says of its model, as text, ending without a newline."""
    lines, training = [card.arch], card.training
    if training is not None:
        lines.append(_ended(training))
    lines += card.notes
    if training is not None and training.test_accuracy is not None:
        lines.append(f"Accuracy on {training.test_name}: {share(training.test_accuracy)}")
    lines += [card.backdoored] if card.backdoored else []
    return "\n".join(map(scrub, lines))


def render_implant_text(record: ImplantRecord) -> str:
    """What was planted in a model and what it does, as text, ending without a newline."""
    lines = [f"{record.attack} in {record.arch}"]
    if record.training is not None:
        lines.append(_ended(record.training))
    if record.accuracy is None:
        lines.append("Nothing was measured: give --test.")
    else:
        lines.append(f"Accuracy on {record.test_name}: {share(record.accuracy)}")
    lines += backdoor_lines(record)
    lines.append("Card and file mark the model as backdoored; the truth lies beside them.")
    return "\n".join(map(scrub, lines))


def _ended(training: TrainingRecord) -> str:
    """How a training ended."""
    if not training.epochs:
        return f"0 epochs ({training.stopped})"
    last = training.epochs[-1]
    return f"{last.epoch} epochs ({training.stopped}), loss {last.loss:.4f}"
