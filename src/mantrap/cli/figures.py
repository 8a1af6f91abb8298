"""Figures in the words that several verbs share."""

from mantrap.records import Rate, TrainingRecord

ALREADY = "It was there already, finished by the same command; nothing was done. --fresh makes it anew.\n"


def share(rate: Rate) -> str:
    """A share with its interval: ``97.80 % (96.70 to 98.54, 1000 images)``."""
    return f"{100 * rate.value:.2f} % ({100 * rate.low:.2f} to {100 * rate.high:.2f}, {rate.total} images)"


def ended(record: TrainingRecord) -> str:
    """How a training ended."""
    last = record.epochs[-1]
    return f"{last.epoch} epochs ({record.stopped}), loss {last.loss:.4f}"
