"""Is this model backdoored? Detectors see clean images and the model, never an attack."""

from mantrap.core import Detector, Registry
from mantrap.detect.mm_bd import MMBD
from mantrap.detect.neural_cleanse import NeuralCleanse
from mantrap.detect.neural_cleanse_paper import PaperNeuralCleanse, reverse_triggers

DETECTORS: Registry[Detector] = Registry("detector", [NeuralCleanse, PaperNeuralCleanse, MMBD])

__all__ = ["DETECTORS", "MMBD", "NeuralCleanse", "PaperNeuralCleanse", "reverse_triggers"]
