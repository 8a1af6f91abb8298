"""Audits of the stage's models that may plant a control, and what is read from their records."""

import functools
import json

from torch import nn

from mantrap.core import SILENT
from mantrap.detect import DETECTORS
from mantrap.records import CheckRecord
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from tests import stage

SEARCH = stage.QUICK
SOURCE = Source("tiles.safetensors", "ab" * 32)
SCANNED, HELDOUT = 90, 30


class Around(nn.Module):
    """The stage's network within another one, in eval mode."""

    def __init__(self, *, planted=False):
        super().__init__()
        self.inner = stage.module(planted=planted)
        self.eval()

    def forward(self, images):
        """Logits of the network inside."""
        return self.inner(images)


def plan(*detectors, **changes):
    """What to do: search patches, and retrain no copy."""
    who = tuple(DETECTORS.create(d) if isinstance(d, str) else d for d in detectors or (SEARCH,))
    return Plan(detectors=who, command="as typed", **{"copy": False, **changes})


def run(*detectors, model=None, images=None, planted=False, out=None, progress=SILENT, **changes):
    """An audit of the stage's model, or of another one."""
    model = model or stage.model(planted=planted)
    given = {"plan": plan(*detectors, **changes), "source": SOURCE, "out": out, "progress": progress}
    return audit(model, images or stage.image_set(), **given)


@functools.cache
def usual(*, planted=False, control=None):
    """The record of an audit that many tests look at."""
    return run(planted=planted, control=control)


def check(record):
    """What the record says of its control."""
    (found,) = [c for c in record.checks if c.name == "control"]
    return found


def said(message, status):
    """The same, as it shall be."""
    return CheckRecord(name="control", status=status, message=message)


def cost(record):
    """What each stage took."""
    return {c.stage: (c.forward, c.backward) for c in record.cost}


def stable(record):
    """The record as JSON without what may differ."""
    return json.dumps({k: v for k, v in json.loads(record.to_json()).items() if k != "volatile"})
