"""The nouns everything else speaks in. Nothing here knows an attack: see ``core.attack`` and ``core.truth``."""

from mantrap.core.classifier import Classifier
from mantrap.core.evasion import (
    AWAY,
    AnyNorm,
    BudgetedEvasion,
    CoveringEvasion,
    Evasion,
    Goal,
    MinimalEvasion,
    NotingEvasion,
    Perturbed,
    Problem,
)
from mantrap.core.guards import FittedGuard, Guard, Scorer, Suspicion
from mantrap.core.hardening import Hardened, Hardening
from mantrap.core.imageset import Batch, ImageSet
from mantrap.core.memo import FORGETFUL, Elsewhere, Memo, SharedMemo
from mantrap.core.progress import SILENT, OutOfTime, Progress, Stage
from mantrap.core.protocols import Detector, Repair, Screen
from mantrap.core.registry import Registry, build, require, spec_of
from mantrap.core.results import (
    Cost,
    Detection,
    LabelFinding,
    Pair,
    Pairs,
    Repaired,
    ReversedPatch,
    ReversedPerturbation,
    ReversedTrigger,
    ReversedWarp,
    Shifts,
)
from mantrap.core.rng import Rng
from mantrap.core.safe_training import SafelyTrained, SafeTraining
from mantrap.core.screened import Screened
from mantrap.core.sources import PixelSource
from mantrap.core.spec import Spec
from mantrap.core.transformation import Transformation
from mantrap.core.trigger import Trigger

__all__ = [
    "AWAY",
    "FORGETFUL",
    "SILENT",
    "AnyNorm",
    "Batch",
    "BudgetedEvasion",
    "Classifier",
    "Cost",
    "CoveringEvasion",
    "Detection",
    "Detector",
    "Elsewhere",
    "Evasion",
    "FittedGuard",
    "Goal",
    "Guard",
    "Hardened",
    "Hardening",
    "ImageSet",
    "LabelFinding",
    "Memo",
    "MinimalEvasion",
    "NotingEvasion",
    "OutOfTime",
    "Pair",
    "Pairs",
    "Perturbed",
    "PixelSource",
    "Problem",
    "Progress",
    "Registry",
    "Repair",
    "Repaired",
    "ReversedPatch",
    "ReversedPerturbation",
    "ReversedTrigger",
    "ReversedWarp",
    "Rng",
    "SafeTraining",
    "SafelyTrained",
    "Scorer",
    "Screen",
    "Screened",
    "SharedMemo",
    "Shifts",
    "Spec",
    "Stage",
    "Suspicion",
    "Transformation",
    "Trigger",
    "build",
    "require",
    "spec_of",
]
