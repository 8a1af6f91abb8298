"""Figures in the words that several verbs share."""

from mantrap.records import AttackMeasure, ImplantRecord, MeasureRecord, Rate, TrainingRecord

ALREADY = "It was there already, finished by the same command; nothing was done. --fresh makes it anew.\n"


def share(rate: Rate) -> str:
    """A share with its interval: ``97.80 % (96.70 to 98.54, 1000 images)``."""
    return f"{100 * rate.value:.2f} % ({100 * rate.low:.2f} to {100 * rate.high:.2f}, {rate.total} images)"


def ended(record: TrainingRecord) -> str:
    """How a training ended."""
    last = record.epochs[-1]
    return f"{last.epoch} epochs ({record.stopped}), loss {last.loss:.4f}"


def measures(record: ImplantRecord | MeasureRecord) -> list[str]:
    """Lines on the clean model beside an attacked one, and on each backdoor."""
    lines = []
    if (change := record.comparison) is not None:
        interval = f"{100 * change.low:+.2f} to {100 * change.high:+.2f}"
        lines.append(
            f"The clean model: {share(change.second)}; difference {100 * change.value:+.2f} points ({interval})"
        )
    if record.differs:
        lines.append(f"Not all of it is the attack's: the clean model has another {'; '.join(record.differs)}")
    return lines + [_works(backdoor) for backdoor in record.backdoors]


def _works(backdoor: AttackMeasure) -> str:
    text = f"{backdoor.trigger}, {backdoor.relabelling}: works on {share(backdoor.success)}"
    if backdoor.bystanders is not None:
        text += f"; on images that it is not aimed at {100 * backdoor.bystanders.value:.2f} %"
    if backdoor.clean_model_success is not None:
        text += f"; on the clean model {100 * backdoor.clean_model_success.value:.2f} %"
    return text
