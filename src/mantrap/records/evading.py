"""How far a model is from being misled: what came of adversarial examples."""

import enum
from typing import Final

from mantrap.records.audit import ModelRecord, Reproduction, StageCost, Volatile
from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.shown import Picture, Prediction, Rate

AREA: Final = "area"
"""What the budgets of patches are: the share of the picture that they cover."""


class AimedAt(enum.Enum):
    """Where examples were to lead: to any other class, or each to a class that was drawn for it."""

    AWAY = "away"
    RANDOM = "random"


class EvadedImagesRecord(Record):
    """The images: all of them, and those that the model gets right, of which examples were made."""

    name: str
    digest: str
    images: int
    right: int


class BudgetRecord(Record):
    """What an evasion does with one budget.

    ``accuracy`` is the share of all images that the model still gets right, on the saved 8-bit pictures, and
    ``reached`` of those that it got right the share that was led to the goal. ``in_floats`` is the accuracy before
    pictures were rounded, and ``noise`` under noise of the same size, ``None`` where that was not measured. ``unaware``
    is that behind a transformation where examples were made for the model without it; ``None`` where there is none.
    ``confidence`` is how sure the model is of its mistakes, in the mean; ``None`` where it makes none. ``beyond`` is
    how many saved pictures exceed the budget.
    """

    eps: float
    accuracy: Rate
    reached: Rate
    in_floats: Rate
    noise: Rate | None
    unaware: Rate | None
    confidence: float | None
    beyond: int


class SmallestRecord(Record):
    """How small a perturbation leads images to the goal, by the norm that the evasion makes small.

    Over the images that the model got right: ``reached`` is the share that got there, ``saved`` the share that still
    are there as 8-bit pictures. ``quartiles`` of the norms are over those that got there, before pictures were rounded,
    and ``distortion``, the root mean square change of a value, is their mean over the same.
    """

    reached: Rate
    saved: Rate
    quartiles: tuple[float, float, float] | None
    distortion: float | None


class EvadedExample(Record):
    """One image before and after, and the change between them, on grey and as strong as can be shown.

    ``times`` is by how much the change is magnified. ``number`` is the image's place in the set.
    """

    number: int
    true_class: str
    before: Picture
    change: Picture
    after: Picture
    times: float
    size: float
    source: Prediction
    outcome: Prediction


class EvasionRecord(Record):
    """What came of one evasion.

    ``norm`` is what its perturbations are measured by, or ``area`` of a patch. ``budgets`` are in rising order; of an
    evasion of the smallest norm they say what would have been enough for which images. ``largest`` is the budget that
    the examples show; ``None`` where they show the smallest perturbations. ``notes`` are what the evasion has to say of
    itself with this model.
    """

    evasion: str
    norm: str
    needs_gradients: bool
    budgets: tuple[BudgetRecord, ...]
    smallest: SmallestRecord | None
    largest: float | None
    examples: tuple[EvadedExample, ...]
    notes: tuple[str, ...]


class StandingAccuracyRecord(Record):
    """The share of images that no evasion with this norm and at most this budget gets wrong, on saved pictures."""

    norm: str
    eps: float
    accuracy: Rate
    evasions: int


class CautionRecord(Record):
    """One sign that evasions fail for other reasons than that the model is robust.

    ``raised`` says whether it was seen, ``None`` where it could not be looked for; ``says`` what was seen, in words.
    """

    name: str
    raised: bool | None
    says: str


class LogitRecord(Record):
    """The logit of one class at each place of a sweep. Classes are told apart by label, for two may share a name."""

    label: int
    class_name: str
    values: tuple[float, ...]


class SweepRecord(Record):
    """The logits of one image along the sign of its gradient, from far against it to far along it.

    ``eps`` are in rising order, below 0 against the gradient. ``logits`` are those of the own class, of the highest
    ones at both ends, and of the classes that come highest anywhere, in this order, each as long as ``eps``.
    """

    number: int
    label: int
    true_class: str
    eps: tuple[float, ...]
    logits: tuple[LogitRecord, ...]


class StepRecord(Record):
    """How far one step of a size moves the margin, in logits, in the mean over images.

    The margin is how far the highest other logit lies above that of the own class. ``foretold`` is what its gradient
    says, ``happened`` what came, without the bounds of pixels.
    """

    eps: float
    foretold: float
    happened: float


class LinearRecord(Record):
    """How linear a model is around images.

    ``values`` is how many numbers an image has and ``slope`` the size of the margin's gradient by one of them, in
    logits for the whole range of a pixel, in the mean: if the model is linear, a step of ``eps`` along the sign moves
    the margin by their product with ``eps``.
    """

    values: int
    slope: float
    steps: tuple[StepRecord, ...]


class EvadeRecord(Record):
    """The whole answer to "how fragile is this model?".

    ``transformation`` is done to images before the model sees them, ``None`` where nothing is; all figures are of both
    together. ``linear`` and ``sweeps`` are ``None`` and empty where the model's answer has no gradient by the pixels.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "evade"
    headline: str
    accuracy: Rate
    aim: AimedAt
    transformation: str | None
    evasions: tuple[EvasionRecord, ...]
    standing: tuple[StandingAccuracyRecord, ...]
    cautions: tuple[CautionRecord, ...]
    linear: LinearRecord | None
    sweeps: tuple[SweepRecord, ...]
    model: ModelRecord
    data: EvadedImagesRecord
    reproduction: Reproduction
    cost: tuple[StageCost, ...]
    volatile: Volatile
