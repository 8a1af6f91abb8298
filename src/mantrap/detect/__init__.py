"""Is this model backdoored? Detectors see clean images and the model, never an attack."""

from mantrap.core import Detector, Registry
from mantrap.detect.neural_cleanse import NeuralCleanse, reverse_triggers

DETECTORS: Registry[Detector] = Registry("detector", [NeuralCleanse])

__all__ = ["DETECTORS", "NeuralCleanse", "reverse_triggers"]
