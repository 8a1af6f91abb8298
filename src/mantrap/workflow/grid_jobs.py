"""What a grid has to make, and the digest of all that each piece depends on."""

import enum
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mantrap.core import spec_of
from mantrap.core.attack import DataAttack
from mantrap.guard import GUARDS
from mantrap.poison import ATTACKS
from mantrap.records import SCHEMA_VERSION, DefenceKind, GridPlan
from mantrap.records.grid import CLEAN
from mantrap.repair import REPAIRS
from mantrap.workflow.grid_plan import detectors_of
from mantrap.workflow.outputs import named_files
from mantrap.workflow.versions import versions
from mantrap.workflow.zoo_plan import RETRAINING


class What(enum.Enum):
    """What a piece of work makes; the value is the stage in which it can be made."""

    CLEAN = (0, "clean model")
    ATTACKED = (1, "attacked model")
    MEASURED = (2, "what a model does")
    DETECTOR = (2, "audit")
    GUARD = (3, "guard")
    REPAIR = (3, "repair")
    SCREEN = (3, "screen")

    @property
    def stage(self) -> int:
        """Work of one stage needs that of earlier ones alone."""
        return self.value[0]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One piece of work.

    Args:
        what: What it makes.
        plan: The grid that it is part of.
        data: The data set.
        model: The architecture.
        attack: The attack, or ``"clean"``.
        defence: The defence, where it is one.
        seed: Of all randomness.
        key: Digest of all that it depends on.
        needs: What has to be there before: first its model, then what else it begins with.
    """

    what: What
    plan: GridPlan
    data: str
    model: str
    attack: str
    seed: int
    key: str
    defence: str = ""
    needs: tuple["Job", ...] = ()

    def __str__(self) -> str:
        parts = (self.data, self.model, self.attack, self.defence, f"s{self.seed}")
        return f"{self.what.value[1]} {'/'.join(filter(None, parts))}"

    def below(self) -> Iterator["Job"]:
        """It and all that it needs, what is needed first."""
        for job in self.needs:
            yield from job.below()
        yield self


@dataclass(frozen=True)
class Subject:
    """A model of a grid: how it is made, how it is measured, and what defends it, by kind and spec."""

    made: Job
    measured: Job
    defences: Mapping[tuple[DefenceKind, str], Job]


@dataclass(frozen=True)
class Place:
    """Where the pieces of a grid lie in its folder."""

    out: Path

    def model(self, job: Job) -> Path:
        """The weights of a model."""
        return self.out / self.model_file(job)

    @staticmethod
    def model_file(job: Job) -> str:
        """The same as it is written in the record."""
        return f"work/models/{job.key}.safetensors"

    def audit(self, job: Job) -> Path:
        """The folder of an audit."""
        return self.out / "work" / "audits" / job.key

    def piece(self, job: Job) -> Path:
        """The record of a finished piece."""
        return self.out / "work" / "pieces" / f"{job.key}.json"


def subjects(plan: GridPlan, digests: Mapping[tuple[str, int], Mapping[str, str]]) -> Iterator[Subject]:
    """All models of a grid, the clean one of each task and seed first, with all that is to be done with them.

    Args:
        plan: The grid.
        digests: Of the images, by data set and seed.
    """
    for data in plan.data:
        for model in plan.models:
            for seed in plan.seeds:
                making = _Making(plan, data, model, seed, digests[data, seed])
                clean = making.clean()
                yield making.subject(clean, CLEAN, ())
                for attack in plan.attacks:
                    yield making.subject(making.attacked(clean, attack), attack, (clean,))


@dataclass(frozen=True)
class _Making:
    """The work on one data set, architecture and seed."""

    plan: GridPlan
    data: str
    model: str
    seed: int
    digests: Mapping[str, str]

    def clean(self) -> Job:
        made = {"data": self.data, "images": self.digests["training"], "model": self.model, "recipe": self.plan.recipe}
        return self._job(What.CLEAN, CLEAN, {"schema": SCHEMA_VERSION, "versions": versions(), **made})

    def attacked(self, clean: Job, attack: str) -> Job:
        begun = ATTACKS.create(attack).name in RETRAINING
        recipe = self.plan.retraining if begun else self.plan.recipe
        depends = {"attack": attack, "files": named_files(attack), "recipe": recipe}
        return self._job(What.ATTACKED, attack, depends, (clean,))

    def subject(self, made: Job, attack: str, beside: tuple[Job, ...]) -> Subject:
        """What is to be done with a model; ``beside`` is the clean one of an attacked one."""
        measured = self._job(What.MEASURED, attack, {"test": self.digests["test"]}, (made, *beside))
        makers = {
            DefenceKind.DETECTOR: self._audit,
            DefenceKind.GUARD: self._guard,
            DefenceKind.REPAIR: self._repair,
            DefenceKind.SCREEN: self._screen,
        }
        fitting = [one for one in self.plan.defences() if _fits(one[0], attack)]
        return Subject(made, measured, {(kind, spec): makers[kind](made, spec) for kind, spec in fitting})

    def _audit(self, made: Job, spec: str) -> Job:
        who = [str(spec_of(detector)) for detector in detectors_of(spec)]
        return self._job(What.DETECTOR, made.attack, {"who": who, "images": self.digests["defender"]}, (made,), spec)

    def _guard(self, made: Job, spec: str) -> Job:
        needs = (made, *self._triggers(made, asked=GUARDS.create(spec).needs_triggers))
        depends = {"guard": spec, "fpr": self.plan.fpr, "images": self._both()}
        return self._job(What.GUARD, made.attack, depends, needs, spec)

    def _repair(self, made: Job, spec: str) -> Job:
        needs = (made, *self._triggers(made, asked=REPAIRS.create(spec).needs_triggers))
        return self._job(What.REPAIR, made.attack, {"repair": spec, "images": self._both()}, needs, spec)

    def _screen(self, made: Job, spec: str) -> Job:
        needs = tuple(dict.fromkeys((made, *made.needs)))
        return self._job(What.SCREEN, made.attack, {"screen": spec, "images": self.digests["defender"]}, needs, spec)

    def _triggers(self, made: Job, *, asked: bool) -> tuple[Job, ...]:
        """The audit whose triggers a defence gets, if it asks for any."""
        return (self._audit(made, self.plan.triggers),) if asked else ()

    def _both(self) -> list[str]:
        return [self.digests["defender"], self.digests["test"]]

    def _job(
        self, what: What, attack: str, depends: Mapping[str, object], needs: tuple[Job, ...] = (), defence: str = ""
    ) -> Job:
        """A job; its key is the digest of what it depends on, and of the keys of what it needs."""
        known = {**depends, "what": what.name, "seed": self.seed, "needs": [job.key for job in needs]}
        return Job(
            what=what,
            plan=self.plan,
            data=self.data,
            model=self.model,
            attack=attack,
            defence=defence,
            seed=self.seed,
            key=hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:24],
            needs=needs,
        )


def _fits(kind: DefenceKind, attack: str) -> bool:
    """Whether a defence says something of an attack.

    A clean model has nothing to repair, and an attack that changes the training or the weights leaves no training set
    to screen.
    """
    if attack == CLEAN:
        return kind is not DefenceKind.REPAIR
    return kind is not DefenceKind.SCREEN or isinstance(ATTACKS.create(attack), DataAttack)
