"""Whether what misleads one model misleads others."""

from mantrap.records.audit import ModelRecord, Reproduction, StageCost, Volatile
from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.shown import Rate


class TransferredRecord(Record):
    """Adversarial examples of one model, shown to one.

    ``wrong`` is the share that it gets wrong, ``same`` the share of these that it takes for the same class as the model
    that they were made for does, ``None`` where it gets none wrong; ``noise`` is the share that it gets wrong with
    Gaussian noise of the same distortion. ``cosine`` is that of the gradients of both models' losses by the pixels, in
    the mean over images; ``None`` where either has none.
    """

    wrong: Rate
    same: Rate | None
    noise: Rate
    cosine: float | None


class TransferRowRecord(Record):
    """Adversarial examples that were made for one model: ``made_for`` is its place among the models.

    ``distortion`` is the root mean square change of a value of the pictures shown, in the mean over images; ``shown``
    has an entry for each model, itself included.
    """

    made_for: int
    distortion: float
    shown: tuple[TransferredRecord, ...]


class TransferRecord(Record):
    """The whole answer to "does what misleads one of these models mislead the others?".

    ``names`` tell the models apart. ``accuracies`` are over all images; examples were made of the ``right`` ones of
    these that every model gets right. ``stretched`` is the distortion that every change was brought to, ``None`` where
    it was left as it was.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "transfer"
    headline: str
    evasion: str
    stretched: float | None
    names: tuple[str, ...]
    models: tuple[ModelRecord, ...]
    accuracies: tuple[Rate, ...]
    rows: tuple[TransferRowRecord, ...]
    data_name: str
    data_digest: str
    images: int
    right: int
    reproduction: Reproduction
    cost: tuple[StageCost, ...]
    volatile: Volatile
