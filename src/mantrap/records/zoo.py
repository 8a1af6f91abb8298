"""A population of models that defenders are measured on: what was planned, and what came out."""

from mantrap.records.attacks import AttackMeasure
from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.shown import Rate


class ZooPlan(Record):
    """One model to be made.

    ``attack`` is empty for a clean one, and ``retraining`` where the attack trains no model that is trained already;
    ``limit`` is how many training images the model gets, ``least_accuracy`` what a clean one of this task reaches if it
    has learned it at all.
    """

    name: str
    split: str
    family: str
    images: str
    limit: int
    arch: str
    recipe: str
    retraining: str
    attack: str
    seed: int
    least_accuracy: float


class ZooModel(Record):
    """One model that was made.

    ``works`` says whether it is what it was meant to be: a clean model that has learned its task, or a backdoored one
    that has, too, and whose backdoor succeeds. A model that does not is kept and shown, and left out where defenders
    are judged. ``attempt`` is the seed that it came from, counted from 1: another one is tried where one does not work.
    Where the last attempt failed altogether, as when a training diverges, ``failure`` says how, and there is no model.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "zoo_model"
    plan: ZooPlan
    sha256: str
    accuracy: Rate | None
    measures: tuple[AttackMeasure, ...]
    works: bool
    attempt: int
    failure: str
    cpu_seconds: float


class ZooManifest(Record):
    """All models of one split that are finished, and of how many."""

    schema_version: str = SCHEMA_VERSION
    kind: str = "zoo_manifest"
    split: str
    planned: int
    models: tuple[ZooModel, ...]
