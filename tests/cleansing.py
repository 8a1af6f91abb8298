"""Repairs of the headed model, from its audit to the proof, in about a second each."""

import dataclasses
import json
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

import pytest
import torch

from mantrap.core import Cost, Repaired
from mantrap.detect import DETECTORS
from mantrap.models import open_model
from mantrap.records import TraitRecord
from mantrap.repair import REPAIRS
from mantrap.workflow import subject
from mantrap.workflow.audit import audit
from mantrap.workflow.cleansing import Cleansing
from mantrap.workflow.plan import Plan, Source
from tests import headed, sourced, stage

UNLEARNING, HIDING, TUNING = "unlearning(updates=80)", "unlearning(updates=40)", "fine_tuning(updates=4)"
"""The first takes the headed model's backdoor out, the second hides it, the third leaves it as it is."""
SHAPE = (1, stage.SIDE, stage.SIDE)
reopened = partial(open_model, arch=headed.ARCH, images_shape=SHAPE, device="cpu")


def audited(folder, *detectors, images=None, seed=0):
    """The record of an audit of the headed model, of which a file is written into a folder."""
    return audited_file(headed.write_model(folder), *detectors, images=images, seed=seed)


def audited_file(path, *detectors, images=None, seed=0):
    """That of an audit of a file like it."""
    who = tuple(map(DETECTORS.create, detectors or (headed.MARGINS,)))
    plan = Plan(detectors=who, copy=False, control=False, seed=seed)
    return audit(reopened(path), images or stage.image_set(), plan=plan, source=Source.of(path))


@lru_cache
def usual(folder):
    """That of one by margins alone, which says nothing; looked at by many tests."""
    return audited(folder)


def work(folder, repair=TUNING, **changes):
    """A repair of the headed model, whose trigger is known."""
    path = folder / "headed.safetensors"
    given = {"model": None, "images": stage.image_set(), "triggers": (sourced.square(),), "reopened": reopened}
    given |= {"audited": None, "source": None, "command": "as typed", **changes}
    given["audited"] = given["audited"] or usual(folder)
    given["source"] = given["source"] or Source.of(path)
    given["model"] = given["model"] or reopened(path)
    return Cleansing(repair=REPAIRS.create(repair) if isinstance(repair, str) else repair, **given)


def told(record, *entries):
    """An audit's record as if that was all it measured: trait, label, and by what chance an ordinary one is as high."""
    traits = tuple(
        TraitRecord(trait=trait, label=label, class_name=str(label), value=0.1, chance=chance)
        for trait, label, chance in entries
    )
    first, *rest = record.detections
    return dataclasses.replace(record, detections=(dataclasses.replace(first, traits=traits), *rest))


@contextmanager
def unsharpened():
    """Triggers are taken as they are, for nobody searches for better ones."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(subject, "sharpened", lambda *given, **_: (tuple(given[3]), Cost()))
        yield


def stable(record):
    """A record as JSON without what may differ."""
    text = record if isinstance(record, str) else record.to_json()
    return json.dumps({k: v for k, v in json.loads(text).items() if k != "volatile"})


@dataclass(frozen=True, kw_only=True)
class Notes:
    """A repair that repairs nothing, and notes what it is given."""

    name: ClassVar[str] = "notes"
    quick: ClassVar[str] = "notes"
    needs_triggers: ClassVar[bool] = False
    asked: ClassVar[list] = []
    control_arm: bool = False

    @property
    def control(self):
        return Notes(control_arm=True)

    def repair(self, model, clean, *, triggers=(), rng, **_):
        drawn = torch.rand(1, generator=rng.torch()).item()
        self.asked.append((self.control_arm, model.digest(), clean, tuple(triggers), drawn))
        return Repaired(model, "notes", len(clean), Cost(5, 3), ("Looked about.",))
