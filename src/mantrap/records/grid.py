"""A grid of experiments: every attack against every defence on every task, with every seed."""

import enum
from typing import Self

from mantrap.errors import RecordError
from mantrap.records.attacks import AttackMeasure, Difference
from mantrap.records.audit import StageCost, Verdict
from mantrap.records.base import SCHEMA_VERSION, Record
from mantrap.records.curves import Area
from mantrap.records.shown import Rate

CLEAN = "clean"
"""What stands for the attack where a model has none."""


class CellState(enum.StrEnum):
    """How far a piece of a grid has come.

    ``UNTRIED``: the defence asks for a trigger, and the audit recovered none that works, so that nothing was done.
    """

    DONE = "done"
    UNTRIED = "untried"
    FAILED = "failed"
    NOT_RUN = "not run"


class DefenceKind(enum.StrEnum):
    """What a defence looks at or changes: a model, an input, a model's weights, a training set."""

    DETECTOR = "detector"
    GUARD = "guard"
    REPAIR = "repair"
    SCREEN = "screen"


class GridPlan(Record):
    """What a grid asks for, as its file says it, with every spec in full.

    ``data``, ``models`` (architectures), ``attacks`` and ``seeds`` are multiplied with each other and with every
    defence; a model without an attack is made for each data set, architecture and seed. ``training_images`` are as many
    of the training set, ``None`` for all. The defender has ``defender_images`` of the test set, ``test_images`` others
    are measured on. ``triggers`` is the detector whose triggers repairs and guards get that ask for one, ``fpr`` the
    share of clean images that guards may flag. ``retraining`` is the recipe of attacks that begin with a trained model.
    """

    data: tuple[str, ...]
    models: tuple[str, ...]
    attacks: tuple[str, ...]
    detectors: tuple[str, ...]
    guards: tuple[str, ...]
    repairs: tuple[str, ...]
    screens: tuple[str, ...]
    seeds: tuple[int, ...]
    recipe: str
    retraining: str
    training_images: int | None
    defender_images: int
    triggers: str
    fpr: float
    test_images: int

    def defences(self) -> tuple[tuple[DefenceKind, str], ...]:
        """All of them, with their kinds."""
        by_kind = (self.detectors, self.guards, self.repairs, self.screens)
        return tuple((kind, spec) for kind, specs in zip(DefenceKind, by_kind, strict=True) for spec in specs)


class GridDetected(Record):
    """What an audit by one detector says of a model.

    ``p_value`` is the chance that a model without a backdoor looks as suspicious, ``None`` where nothing is known of
    such; ``first`` is the label that stands out most by it. ``suspects`` are the labels of which a trigger is shown.
    """

    verdict: Verdict
    p_value: float | None
    first: int | None
    suspects: tuple[int, ...]


class GridGuarded(Record):
    """What a guard does with test images.

    ``false_positives`` is over clean ones. For each planted backdoor ``missed`` has the share of the images on which
    its trigger works that are let through, and ``areas`` what any threshold could do; both are empty for a clean model,
    and an entry is ``None`` where the trigger works on no image.
    """

    false_positives: Rate
    missed: tuple[Rate | None, ...]
    areas: tuple[Area | None, ...]
    notes: tuple[str, ...]


class GridRepaired(Record):
    """What a repair comes to on test images.

    ``accuracy`` is that of the repaired model beside the one that came in, on the same images; ``before`` and ``after``
    are the success of each planted trigger. ``control`` is the repair of the same effort without what a trigger tells,
    with its accuracy and successes; empty where the repair is its own control.
    """

    accuracy: Difference
    before: tuple[Rate, ...]
    after: tuple[Rate, ...]
    control: str
    control_accuracy: Difference | None
    control_after: tuple[Rate, ...]
    notes: tuple[str, ...]


class GridScreened(Record):
    """What a screen says of a training set: ``caught`` is the share of the poisoned images that it flags.

    ``spoilt`` is that of the clean ones, ``area`` how well its scores part the two; ``caught`` and ``area`` are
    ``None`` where nothing is poisoned.
    """

    caught: Rate | None
    spoilt: Rate
    area: Area | None
    suspects: tuple[int, ...]
    notes: tuple[str, ...]


class GridModel(Record):
    """A model of a grid; ``attack`` is ``"clean"`` where it has none.

    ``comparison`` holds its accuracy beside that of the clean model of the same seed; ``works`` says whether every
    backdoor does, and does so more than on that clean model. ``file`` is its place in the grid's folder.
    """

    data: str
    model: str
    attack: str
    seed: int
    state: CellState
    failure: str = ""
    file: str = ""
    sha256: str = ""
    accuracy: Rate | None = None
    comparison: Difference | None = None
    measures: tuple[AttackMeasure, ...] = ()
    works: bool = False

    @property
    def name(self) -> str:
        """What it is called where a pattern chooses models and cells."""
        return f"{self.data}/{self.model}/{self.attack}/s{self.seed}"

    @property
    def targets(self) -> tuple[int, ...]:
        """Labels that its backdoors lead to."""
        return tuple(measure.target for measure in self.measures if measure.target is not None)


class GridCell(Record):
    """One defence against one attack on one model with one seed; of the four results one is there where it is done."""

    data: str
    model: str
    attack: str
    defence: str
    defends: DefenceKind
    seed: int
    state: CellState
    failure: str = ""
    untried: str = ""
    detected: GridDetected | None = None
    guarded: GridGuarded | None = None
    repaired: GridRepaired | None = None
    screened: GridScreened | None = None
    cost: tuple[StageCost, ...] = ()

    @property
    def name(self) -> str:
        """What it is called where a pattern chooses cells."""
        return f"{self.data}/{self.model}/{self.attack}/{self.defence}/s{self.seed}"

    @property
    def of(self) -> str:
        """The name of its model."""
        return f"{self.data}/{self.model}/{self.attack}/s{self.seed}"

    @property
    def holds_its_result(self) -> bool:
        """Whether what it came to is there, where it is done."""
        results = (self.detected, self.guarded, self.repaired, self.screened)
        found = dict(zip(DefenceKind, results, strict=True))
        return self.state is not CellState.DONE or found[self.defends] is not None


class GridArea(Record):
    """How well the p-values of a detector part models with a backdoor from clean ones of the same task.

    ``attack`` is empty where all attacks are taken together; models whose backdoor does not work are left out.
    """

    data: str
    model: str
    attack: str
    defence: str
    area: Area


class GridVolatile(Record):
    """What differs between two runs of the same grid: when and where it ran, and the CPU seconds of every cell."""

    started: str
    machine: str
    cpu_seconds: dict[str, float]


class GridRecord(Record):
    """A grid and all that came of it.

    ``images`` are digests of what was trained with, defended with and measured on, by data set and seed.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "grid"
    plan: GridPlan
    models: tuple[GridModel, ...]
    cells: tuple[GridCell, ...]
    areas: tuple[GridArea, ...]
    images: dict[str, str]
    versions: dict[str, str]
    command: str
    volatile: GridVolatile

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a record back; see :meth:`mantrap.records.base.Record.from_json`.

        Raises:
            RecordError: As for any record; or a cell is of a model that is not there, or is done and came to nothing.
        """
        found = super().from_json(text)
        models = {model.name for model in found.models}
        for cell in found.cells:
            if cell.of not in models or not cell.holds_its_result:
                raise RecordError(
                    expected="a model for every cell, and a result for every one that is done",
                    got=f"none for {cell.name:.200}",
                    remedy="The record is damaged; run the grid again.",
                )
        return found
