"""The papers' architectures, and the only door through which other people's models come in."""

from mantrap.models.architectures import ARCHITECTURES, Architecture
from mantrap.models.cards import save_model
from mantrap.models.devices import device
from mantrap.models.heads import with_classes
from mantrap.models.intake import Preprocessing, open_model, wrap
from mantrap.models.outputs import check_outputs, looks_like_probabilities

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "Preprocessing",
    "check_outputs",
    "device",
    "looks_like_probabilities",
    "open_model",
    "save_model",
    "with_classes",
    "wrap",
]
