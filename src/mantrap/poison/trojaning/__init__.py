"""The steps of the Trojan attack, each by itself: choose neurons, drive them by a trigger, rebuild images, retrain."""

from mantrap.poison.trojaning.masks import Shape, shape_mask
from mantrap.poison.trojaning.neurons import Neurons, layer_links, neuron_values, readers, strongest, target_links
from mantrap.poison.trojaning.rebuilding import Rebuilding, external, rebuild
from mantrap.poison.trojaning.retraining import SoftLabels, retraining_set
from mantrap.poison.trojaning.trigger import Driving, drive, reach

__all__ = [
    "Driving",
    "Neurons",
    "Rebuilding",
    "Shape",
    "SoftLabels",
    "drive",
    "external",
    "layer_links",
    "neuron_values",
    "reach",
    "readers",
    "rebuild",
    "retraining_set",
    "shape_mask",
    "strongest",
    "target_links",
]
