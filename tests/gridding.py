"""Grids whose outcome is known without training: a network that was wired by hand as the attack, and defences that do
just what they say.

The wired network is that of :mod:`tests.guarding`: a white 2x2 square at the lower right leads to class 4, one at the
lower left to class 1, and clean images open neither.
"""

from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from mantrap.core import Cost, FittedGuard, Repaired, Screened
from mantrap.core.attack import Implanted
from mantrap.core.truth import Backdoor, GroundTruth
from mantrap.guard import GUARDS
from mantrap.poison import ATTACKS
from mantrap.repair import REPAIRS
from mantrap.screen import SCREENS
from mantrap.training.checks import still
from mantrap.workflow.grid_plan import plan_of
from tests import guarding, headed, stage

ARCH = "mlp(hidden=(8,))"
WIRED, BROKEN = "wired", "breaking"
PATCHED = "badnets(target=2, rate=0.2, trigger='patch(size=2, margin=0)')"
TRAINED, DEFENDED, TESTED = 120, 80, 60
THRESHOLD = 0.9
"""Of how white the lower right corner is."""


def write_images(folder):
    """The stage's images, divided into train and test."""
    images, labels = stage.pixels(480)
    arrays = {"x_train": images[:240, 0], "y_train": labels[:240], "x_test": images[240:, 0], "y_test": labels[240:]}
    path = folder / "tiles.npz"
    np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
    return path


def tables(data, /, **changes) -> dict[str, Any]:
    """A grid as its file says it: two attacks, a defence of each kind, one seed."""
    plain = {
        "data": [str(data)],
        "models": [ARCH],
        "attacks": [WIRED, PATCHED],
        "detectors": [headed.MARGINS],
        "guards": ["corner"],
        "repairs": ["closing", "idle"],
        "screens": ["white"],
        "seeds": [0],
        "training": {"images": TRAINED, "recipe": "recipe(epochs=2, batch_size=16)"},
        "defender": {"images": DEFENDED, "triggers": headed.MARGINS},
        "test": {"images": TESTED},
    }
    return {name: value for name, value in (plain | changes).items() if value is not None}


def plan(data, /, **changes):
    """The same, read."""
    return plan_of(tables(data, **changes))


@contextmanager
def registered():
    """The attacks and defences of this module have names inside."""
    with pytest.MonkeyPatch.context() as patched:
        for registry, kinds in (
            (ATTACKS, (Wired, Breaking)),
            (GUARDS, (Corner,)),
            (REPAIRS, (Closing, Idle)),
            (SCREENS, (White,)),
        ):
            for kind in kinds:
                patched.setitem(registry._kinds, kind.name, kind)
        yield


def corners(images):
    """How white the lower right corner of each image is, [n]."""
    return images[:, 0, -2:, -2:].mean((1, 2))


def wired(model):
    """The network with both backdoors, as a classifier of this architecture."""
    made, weights = still(model), guarding.MODEL.module.state_dict()
    made.module.load_state_dict({name.replace("3.", "4."): tensor for name, tensor in weights.items()})
    return made


@dataclass(frozen=True, kw_only=True)
class Wired:
    """An attack that puts the wired weights in place of the model's own."""

    name: ClassVar[str] = "wired"
    quick: ClassVar[str] = "wired"

    def implant(self, model, data, *, rng, **_):
        backdoors = tuple(
            Backdoor(trigger=trigger, relabelling=f"all_to_one(target={target})", target=target, training_trigger="")
            for trigger, target in (
                ("patch(size=2, margin=0)", guarding.PLANT.trigger.target),
                ("patch(size=2, margin=0, place='bottom_left')", guarding.PLANT.other.target),
            )
        )
        truth = GroundTruth(attack="wired", seed=rng.seed, backdoors=backdoors, classes=data.num_classes)
        return Implanted(wired(model), truth)


@dataclass(frozen=True, kw_only=True)
class Breaking:
    """An attack that breaks down, in a way that none of ours does."""

    name: ClassVar[str] = "breaking"
    quick: ClassVar[str] = "breaking"
    tried: ClassVar[list] = []
    file: str = ""

    def implant(self, *_, **__):
        self.tried.append(1)
        raise ZeroDivisionError("nothing\nto divide by")


@dataclass(frozen=True, kw_only=True)
class Idle:
    """A repair that repairs nothing."""

    name: ClassVar[str] = "idle"
    quick: ClassVar[str] = "idle"
    needs_triggers: ClassVar[bool] = False

    @property
    def control(self):
        return Idle()

    def repair(self, model, clean, **_):
        return Repaired(still(model), "idle", len(clean), Cost(7, 3))


@dataclass(frozen=True, kw_only=True)
class Closing(Idle):
    """A repair that knows where the first backdoor is, and closes it, but takes classes 2 and 3 for each other."""

    name: ClassVar[str] = "closing"
    quick: ClassVar[str] = "closing"

    def repair(self, model, clean, **_):
        made = still(model)
        made.module[4].weight.data[:, -2] = 0
        made.module[4].weight.data[[2, 3]] = made.module[4].weight.data[[3, 2]]
        return Repaired(made, "closing", len(clean), Cost(7, 3), ("Closed.",))


@dataclass(frozen=True, kw_only=True)
class Corner:
    """A guard that looks at the lower right corner alone."""

    name: ClassVar[str] = "corner"
    quick: ClassVar[str] = "corner"
    needs_triggers: ClassVar[bool] = False
    passes: ClassVar[int] = 1

    def fit(self, model, clean, *, fpr, **_):
        return FittedGuard(self, model, {}, THRESHOLD, fpr, len(clean), Cost(5, 0), ("Fitted.",))

    def scorer(self, model, learned: Mapping[str, torch.Tensor]):
        del model, learned
        return corners


@dataclass(frozen=True, kw_only=True)
class White:
    """A screen that flags images whose lower right corner is white."""

    name: ClassVar[str] = "white"
    quick: ClassVar[str] = "white"
    needs_clean: ClassVar[bool] = True
    given: ClassVar[list] = []

    def score(self, model, suspects, *, clean=None, **_):
        self.given.append((model, suspects, clean))
        scores = corners(suspects.images())
        return Screened("white", scores, scores > THRESHOLD, cost=Cost(forward=len(suspects)), notes=("Looked.",))
