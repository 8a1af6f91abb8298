"""A poisoned set differs from the clean one exactly where the truth says, and nowhere else."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import DataError, UsageError
from mantrap.poison import AllToOne, Patch, Poison, RandomShare

PATCH = Patch(size=2, margin=0, colour="black")
PLAN = Poison(trigger=PATCH, selection=RandomShare(rate=0.25), relabelling=AllToOne(target=1))
LABELS = torch.arange(24) % 3


def clean(dtype):
    floats = torch.rand(24, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    pixels = (floats * 255).round().byte() if dtype == torch.uint8 else floats
    return ImageSet.from_array(pixels, LABELS, class_names=("a", "b", "c"), name="toy")


@dataclass(frozen=True, kw_only=True)
class Noise:
    """A trigger that varies from image to image."""

    name: ClassVar[str] = "noise"

    def __call__(self, images, *, rng):
        return torch.rand(images.shape, generator=rng.torch())


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_truth_lists_exactly_what_was_changed(dtype):
    data = clean(dtype)
    poisoned, truth = (result := PLAN.apply(data, rng=Rng(3))).data, result.truth
    before, after = data.images(), poisoned.images()
    chosen = list(truth.poisoned)
    others = [i for i in range(24) if i not in chosen]
    assert len(chosen) == 6
    assert [i for i in range(24) if not torch.equal(before[i], after[i])] == chosen
    assert torch.equal(poisoned.labels[others], LABELS[others])
    assert [i for i in range(24) if poisoned.labels[i] != LABELS[i]] == chosen
    assert poisoned.labels[chosen].tolist() == [1] * 6


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_stamping_while_reading_is_stamping_beforehand(dtype):
    data = clean(dtype)
    result = PLAN.apply(data, rng=Rng(3))
    eager = data.images()
    chosen = list(result.truth.poisoned)
    eager[chosen] = PATCH(eager[chosen], rng=Rng(0))
    torch.testing.assert_close(result.data.images(), eager, atol=1e-7, rtol=0)
    assert result.data.source.read(range(24)).dtype == dtype
    for order in ([5, 3, 3, 0], range(2, 9), chosen[:1]):
        assert torch.equal(result.data.images(order), result.data.images()[list(order)])
    assert torch.equal(torch.cat([b.images for b in result.data.batches(7)]), result.data.images())


def test_a_grey_of_eight_bits_is_rounded():
    plan = Poison(trigger=Patch(size=2, margin=0, colour=0.25), selection=PLAN.selection, relabelling=PLAN.relabelling)
    result = plan.apply(clean(torch.uint8), rng=Rng(0))
    (stamped,) = result.data.source.read(result.truth.poisoned[:1])
    assert stamped[:, 4:, 3:].unique().tolist() == [64]


def test_the_set_that_comes_in_is_unchanged():
    data = clean(torch.uint8)
    digest, labels = data.digest(), data.labels.clone()
    PLAN.apply(data, rng=Rng(0)).data.images()
    assert torch.equal(data.labels, labels)
    assert ImageSet.from_array(data.source.pixels, data.labels).digest() == digest


def test_names_stay_and_the_truth_says_how_it_was_done():
    data = clean(torch.uint8)
    result = PLAN.apply(data, rng=Rng(3))
    truth = result.truth
    assert (result.data.name, result.data.class_names) == ("toy", ("a", "b", "c"))
    assert truth.trigger == "patch(size=2, margin=0, colour='black')"
    assert (truth.selection, truth.relabelling) == ("random_share(rate=0.25)", "all_to_one(target=1)")
    assert (truth.target, truth.seed) == (1, 3)
    assert truth.clean_digest == data.digest()
    assert truth.poisoned_digest == result.data.digest() != truth.clean_digest
    assert type(truth).from_json(truth.to_json()) == truth


@pytest.mark.parametrize("trigger", [PATCH, Noise()], ids=["patch", "noise"])
def test_the_same_seed_poisons_alike_and_another_one_does_not(trigger):
    plan = Poison(trigger=trigger, selection=RandomShare(rate=0.25), relabelling=AllToOne(target=1))
    first, second, third = (plan.apply(clean(torch.uint8), rng=Rng(seed)) for seed in (0, 0, 1))
    assert first.truth == second.truth
    assert torch.equal(first.data.images(), second.data.images())
    assert first.truth.poisoned != third.truth.poisoned


def test_a_trigger_that_varies_gives_an_image_the_same_in_every_batch():
    plan = Poison(trigger=Noise(), selection=RandomShare(rate=0.25), relabelling=AllToOne(target=1))
    result = plan.apply(clean(torch.uint8), rng=Rng(0))
    first, second = result.truth.poisoned[:2]
    together, alone = result.data.images([first, second]), result.data.images([second])
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])


def test_images_without_labels_are_refused():
    with pytest.raises(DataError, match="labels for toy, got none"):
        PLAN.apply(clean(torch.uint8).unlabelled(), rng=Rng(0))


@pytest.mark.parametrize(
    ("plan", "got"),
    [
        (Poison(trigger=PATCH, selection=RandomShare(), relabelling=AllToOne(target=3)), "a target from 0 to 2, got 3"),
        (Poison(trigger=Patch(size=9), selection=RandomShare(), relabelling=AllToOne()), "fits into 6x5 pixels"),
        (Poison(trigger=PATCH, selection=RandomShare(rate=0.9), relabelling=AllToOne()), "selects 1 to 16 of 24"),
    ],
    ids=["target", "trigger", "selection"],
)
def test_what_does_not_fit_the_set_is_refused_at_once(plan, got):
    with pytest.raises(UsageError, match=got):
        plan.apply(clean(torch.uint8), rng=Rng(0))
