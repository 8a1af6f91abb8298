"""What an attacker knows and a defender must never see: which images were poisoned, and how."""

from mantrap.records.base import SCHEMA_VERSION, Record


class GroundTruth(Record):
    """The answer to an exam: kept in a file of its own, read by ``measure`` alone.

    ``poisoned`` are indices into the poisoned set. ``target`` is the label of an all-to-one backdoor, else ``None``.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "ground_truth"
    trigger: str
    selection: str
    relabelling: str
    target: int | None
    seed: int
    poisoned: tuple[int, ...]
    clean_digest: str
    poisoned_digest: str
