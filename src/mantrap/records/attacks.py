"""What a planted backdoor does, measured."""

from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.cards import TrainingRecord
from mantrap.records.likeness import Likeness
from mantrap.records.shown import Rate


class Difference(Record):
    """Two shares of the same images, and how far apart they are: ``value`` is first less second.

    ``low`` and ``high`` are the ends of its interval at 95 %, which knows that the images are the same.
    """

    first: Rate
    second: Rate
    value: float
    low: float
    high: float


class Stealth(Record):
    """How visible a trigger is, as means over ``images`` test images; pixels are in [0, 1].

    ``psnr`` is in dB and ``None`` where an image was not changed at all; ``largest_change`` is the largest of any
    pixel of any image, ``l2`` the mean Euclidean norm of the change.
    """

    images: int
    ssim: float
    psnr: float | None
    largest_change: float
    l2: float


class AttackMeasure(Record):
    """What one planted backdoor does to clean test images.

    ``success`` is over the images it is aimed at; ``robust_accuracy`` is the share of the same that keep their class
    under the trigger; ``clean_model_success`` is what the trigger does to a model without the backdoor;
    ``bystanders`` is how often it sends images there that it is not aimed at, where there are such images.
    """

    trigger: str
    relabelling: str
    target: int | None
    success: Rate
    robust_accuracy: Rate
    clean_model_success: Rate | None
    bystanders: Rate | None
    stealth: Stealth


class MeasureRecord(Record):
    """What the backdoors that a truth speaks of do to a model, whoever trained it.

    ``model`` is a file's name; ``differs`` says in what the clean model of the comparison was trained otherwise than
    this one, as far as is known. ``likenesses`` are of triggers that an audit recovered, beside those that were
    planted, where an audit was given; ``recovered`` is how many it had recovered, and ``notes`` say which images they
    were compared on.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "attack_measures"
    model: str
    sha256: str
    attack: str
    test_name: str
    test_images: int
    accuracy: Rate
    comparison: Difference | None
    backdoors: tuple[AttackMeasure, ...]
    differs: tuple[str, ...]
    versions: dict[str, str]
    recovered: int = 0
    likenesses: tuple[Likeness, ...] = ()
    notes: tuple[str, ...] = ()


class ImplantRecord(Record):
    """A model that was attacked on purpose: what it was made from, and what it does.

    ``origin`` is all that it followed from, by which a finished piece of work is known again; models and images are
    digests there, empty where there was none. ``accuracy`` is on the test images, ``comparison`` has that of the clean
    model beside it; ``differs`` says in what that was trained otherwise. ``training`` is ``None`` where weights were
    changed without any.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "implant"
    attack: str
    arch: str
    recipe: str
    seed: int
    training_name: str
    training_images: int
    test_name: str
    accuracy: Rate | None
    comparison: Difference | None
    backdoors: tuple[AttackMeasure, ...]
    training: TrainingRecord | None
    sha256: str
    truth_sha256: str
    origin: dict[str, str]
    versions: dict[str, str]
    differs: tuple[str, ...] = ()
