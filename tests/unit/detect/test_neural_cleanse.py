"""Patches behind masks; what all searches by arms have in common is tested in ``test_reversal.py``."""

import pytest

from mantrap.core import ReversedPatch, Rng
from mantrap.detect import NeuralCleanse
from mantrap.errors import SpecError
from tests.planted import Planted

PLANTED = Planted(shape=(3, 10, 12), classes=5, target=1)
QUICK = NeuralCleanse(steps=60, finalists=2, final_steps=20, precision="float32")


def scan(settings=QUICK):
    return settings.detect(
        PLANTED.model(), PLANTED.images(20, "scan"), heldout=PLANTED.images(8, "heldout"), rng=Rng(2)
    )


def test_its_triggers_are_patches_with_a_mask_for_all_channels():
    found = scan()

    assert {type(trigger) for trigger in found.triggers} == {ReversedPatch}
    assert {(trigger.mask.shape, trigger.pattern.shape) for trigger in found.triggers} == {((10, 12), (3, 10, 12))}


def test_its_trait_is_the_share_of_the_image_that_a_patch_covers():
    assert QUICK.traits({0: 12.0, 3: 60.0}, PLANTED.shape) == {"patch": {0: 0.1, 3: 0.5}}


@pytest.mark.parametrize("bad", [{"mask_rate": 0.0}, {"scales": ()}])
def test_settings_of_patches_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        NeuralCleanse(**bad)
