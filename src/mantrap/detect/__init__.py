"""Is this model backdoored? Detectors see clean images and the model, never an attack."""

from typing import Final

from mantrap.core import Detector, Registry
from mantrap.detect.all_to_all_patch import AllToAll
from mantrap.detect.last_layer import LastLayer
from mantrap.detect.mm_bd import MMBD
from mantrap.detect.neural_cleanse import NeuralCleanse
from mantrap.detect.neural_cleanse_paper import PaperNeuralCleanse, reverse_triggers
from mantrap.detect.pair_scan import PairScan
from mantrap.detect.universal_perturbation import UniversalPerturbation
from mantrap.detect.universal_warp import UniversalWarp

DETECTORS: Registry[Detector] = Registry(
    "detector",
    [NeuralCleanse, UniversalPerturbation, UniversalWarp, MMBD, LastLayer, AllToAll, PairScan, PaperNeuralCleanse],
)
DEFAULT_DETECTORS: Final = (
    NeuralCleanse.name,
    UniversalPerturbation.name,
    UniversalWarp.name,
    MMBD.name,
    LastLayer.name,
    AllToAll.name,
)
"""Those that an audit runs where none is named."""
IF_TIME: Final = (PairScan.name,)
"""Those that it runs as well where none is named and a time is given that leaves room for them."""

__all__ = [
    "DEFAULT_DETECTORS",
    "DETECTORS",
    "IF_TIME",
    "MMBD",
    "AllToAll",
    "LastLayer",
    "NeuralCleanse",
    "PairScan",
    "PaperNeuralCleanse",
    "UniversalPerturbation",
    "UniversalWarp",
    "reverse_triggers",
]
