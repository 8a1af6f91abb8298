"""In which order things stand: what was found, and what was measured of each label."""

from dataclasses import dataclass

from mantrap.records import AuditRecord, DetectionRecord, TraitRecord


@dataclass(frozen=True)
class TraitRow:
    """What was measured of one label: an entry for each trait, or ``None``."""

    label: int
    class_name: str
    cells: tuple[TraitRecord | None, ...]

    @property
    def least(self) -> float:
        """The smallest chance of any trait."""
        return min((c.chance for c in self.cells if c is not None and c.chance is not None), default=1.0)


def traits_of(detection: DetectionRecord) -> tuple[str, ...]:
    """The traits that a detector measured, in its order."""
    return tuple(dict.fromkeys(entry.trait for entry in detection.traits))


def trait_rows(detection: DetectionRecord) -> tuple[TraitRow, ...]:
    """Every label that was measured; that by which an ordinary one stands as high most seldom comes first."""
    entries = {(entry.label, entry.trait): entry for entry in detection.traits}
    names = {entry.label: entry.class_name for entry in detection.traits}
    traits = traits_of(detection)
    rows = (TraitRow(label, names[label], tuple(entries.get((label, t)) for t in traits)) for label in sorted(names))
    return tuple(sorted(rows, key=lambda row: (row.least, row.label)))


def findings(record: AuditRecord) -> tuple[str, ...]:
    """Kinds of suspects that there are, ``labels``, ``shift`` and ``pair``: what is rarest without a backdoor first."""
    compared = record.comparison
    chances: dict[str, float | None] = {}
    if record.suspects:
        chances["labels"] = min((s.chance for s in compared.standings), default=None) if compared else None
    if record.shift is not None and record.shift.noticed:
        chances["shift"] = compared.shift if compared else None
    if record.pair is not None and record.pair.noticed:
        chances["pair"] = record.pair.chance
    return tuple(sorted(chances, key=lambda kind: -1.0 if (chance := chances[kind]) is None else chance))
