"""Attacks by name: what the literature calls them, with its settings."""

from mantrap.core import Registry
from mantrap.core.attack import DataAttack, ModelAttack
from mantrap.poison.attacks.adaptive_blend import AdaptiveBlend
from mantrap.poison.attacks.badnets import BadNets
from mantrap.poison.attacks.blended import Blended
from mantrap.poison.attacks.combination import Combined, attack_text, combine
from mantrap.poison.attacks.dynamic import Ban, ConditionalBan, RandomBackdoor
from mantrap.poison.attacks.feature_collision import FeatureCollision
from mantrap.poison.attacks.frequency import Frequency
from mantrap.poison.attacks.input_aware import InputAware
from mantrap.poison.attacks.invisible import Invisible
from mantrap.poison.attacks.label_consistent import LabelConsistent
from mantrap.poison.attacks.label_flip import LabelFlip
from mantrap.poison.attacks.sig import Sig
from mantrap.poison.attacks.trojan import Trojan
from mantrap.poison.attacks.wanet import WaNet

ATTACKS: Registry[DataAttack | ModelAttack] = Registry(
    "attack",
    [
        BadNets,
        Blended,
        AdaptiveBlend,
        Sig,
        LabelConsistent,
        Invisible,
        Frequency,
        WaNet,
        RandomBackdoor,
        Ban,
        ConditionalBan,
        InputAware,
        Trojan,
        LabelFlip,
        FeatureCollision,
    ],
)

__all__ = [
    "ATTACKS",
    "AdaptiveBlend",
    "BadNets",
    "Ban",
    "Blended",
    "Combined",
    "ConditionalBan",
    "FeatureCollision",
    "Frequency",
    "InputAware",
    "Invisible",
    "LabelConsistent",
    "LabelFlip",
    "RandomBackdoor",
    "Sig",
    "Trojan",
    "WaNet",
    "attack_text",
    "combine",
]
