"""The card that lies beside a saved model, and the record of its training."""

from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.shown import Rate


class EpochRecord(Record):
    """Mean loss and accuracy over the training images in one epoch (measured while the weights moved)."""

    epoch: int
    loss: float
    accuracy: float


class AttackedRecord(Record):
    """How often a model that is trained against adversarial examples is right on held-out images that are attacked.

    Accuracies after so many epochs, under one step of the budget and under many; ``epoch`` 0 is before the first one.
    """

    epoch: int
    one_step: float
    many_steps: float


class TrainingRecord(Record):
    """How a model was trained, and why the training stopped.

    ``start_digest`` is that of the classifier with which the training began. ``safely`` is the spec of the way in which
    a set that may be poisoned was trained on, where it was, and ``apart`` how many of its images were not learned.
    ``against`` is the spec of the way in which a model was trained against adversarial examples, where it was; then
    ``heldout`` of the images were not learned but attacked, with the results in ``attacked``.
    """

    recipe: str
    seed: int
    images: int
    data_name: str
    data_digest: str
    epochs: tuple[EpochRecord, ...]
    stopped: str
    test_accuracy: Rate | None
    test_name: str | None
    start_digest: str = ""
    safely: str = ""
    apart: int = 0
    against: str = ""
    heldout: int = 0
    attacked: tuple[AttackedRecord, ...] = ()


class ModelCard(Record):
    """What a file of weights does not say of itself; lies beside it as ``NAME.card.json``.

    ``backdoored`` is a plain sentence where a backdoor was planted on purpose, so that nobody takes the model for a
    clean one. It is for people: an audit never reads it.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "model_card"
    arch: str
    num_classes: int
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    pixel_range: tuple[float, float]
    sha256: str
    training: TrainingRecord | None
    notes: tuple[str, ...] = ()
    backdoored: str = ""
