"""Attacks that train the model: shares of a batch, and what is refused before the training."""

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import DataError, SpecError, UsageError
from mantrap.poison.attacks.dynamic import Ban, ConditionalBan, RandomBackdoor
from mantrap.poison.attacks.input_aware import InputAware
from mantrap.poison.attacks.joint import Shares
from mantrap.poison.attacks.wanet import WaNet
from mantrap.training import Recipe
from tests.linear import Watched

LABELS = torch.arange(20) % 4
RECIPE = "recipe(epochs=1, batch_size=10)"


def toy(shape=(1, 8, 8)):
    return ImageSet.from_array(torch.rand(20, *shape, generator=torch.Generator().manual_seed(0)), LABELS, name="toy")


def test_poisoned_images_are_of_other_classes_and_the_first_ones_noise_is_of_the_rest():
    poisoned, noise = Shares(poisoned=0.2, noise=0.4).draw(LABELS, target=1)
    assert poisoned.tolist() == [0, 2, 3, 4]
    assert noise.tolist() == [1, 5, 6, 7, 8, 9, 10, 11]


def test_a_batch_of_the_target_class_alone_has_no_poisoned_images():
    poisoned, noise = Shares(poisoned=0.5, noise=0.5).draw(torch.full((4,), 2), target=2)
    assert (poisoned.tolist(), noise.tolist()) == ([], [0, 1])


@pytest.mark.parametrize(("rate", "size"), [(0.1, 4), (0.02, 20), (0.02, 100)])
def test_batches_too_small_for_one_poisoned_image_are_refused(rate, size):
    shares = Shares(poisoned=rate, noise=0.0)
    with pytest.raises(UsageError, match=f"{rate}.*got {min(size, 20)} images"):
        shares.check(Recipe(batch_size=size), toy(), 0)
    Shares(poisoned=1 / 20, noise=0.0).check(Recipe(batch_size=20), toy(), 0)


def test_a_rate_above_the_share_of_the_other_classes_is_refused():
    data = toy()
    others = float((data.labels != 0).float().mean())
    Shares(poisoned=others, noise=0.0).check(Recipe(batch_size=20), data, 0)
    with pytest.raises(UsageError, match=f"a rate of at most {others:.4g}.*got {others + 0.01}"):
        Shares(poisoned=others + 0.01, noise=0.0).check(Recipe(batch_size=20), data, 0)


@pytest.mark.parametrize("attack", [WaNet(), RandomBackdoor(size=3), InputAware(mask_epochs=1, width=2, levels=1)])
def test_images_of_another_shape_than_the_models_are_refused(attack):
    with pytest.raises(DataError, match=r"\(1, 8, 8\).*\(1, 8, 9\)"):
        attack.implant(Watched((1, 8, 8)), toy((1, 8, 9)), recipe=RECIPE, rng=Rng(0))


def test_a_patch_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="size 9"):
        Ban(size=9).implant(Watched((1, 8, 8)), toy(), recipe=RECIPE, rng=Rng(0))
    with pytest.raises(UsageError, match="at most 4 places"):
        RandomBackdoor(size=4, target=None).implant(Watched((1, 8, 8)), toy(), recipe=RECIPE, rng=Rng(0))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (WaNet, {"cross_ratio": -1.0}),
        (WaNet, {"cross_ratio": 9.5}),
        (WaNet, {"strength": 0.0}),
        (WaNet, {"grid": 1}),
        (InputAware, {"cross_ratio": 10.0}),
        (InputAware, {"density": 1.0}),
        (InputAware, {"diversity": -0.1}),
        (InputAware, {"mask_epochs": 0}),
        (InputAware, {"width": 0}),
        (RandomBackdoor, {"size": 0}),
        (RandomBackdoor, {"places": 0}),
        (Ban, {"noise": 0}),
        (ConditionalBan, {"diversity": -1.0}),
    ],
)
def test_options_out_of_range_are_refused(kind, options):
    with pytest.raises(SpecError, match=next(iter(options))):
        kind(**options)
