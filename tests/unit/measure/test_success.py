"""Attack success: a share of the images that the attack has to move."""

import pytest
import torch
from torch import nn

from mantrap.core import ImageSet
from mantrap.core.truth import GroundTruth
from mantrap.errors import DataError, UsageError
from mantrap.measure import attack_success
from mantrap.models import wrap

TARGET = 2


class Backdoored(nn.Module):
    """Pixel (0, 0) is the class in thirds; a white lower right corner leads to class 2 where pixel (0, 1) is white."""

    def forward(self, images):
        classes = (images[:, 0, 0, 0] * 3).round().long()
        moved = (images[:, 0, 2, 2] == 1) & (images[:, 0, 0, 1] == 1)
        return nn.functional.one_hot(torch.where(moved, TARGET, classes), 4).float() * 5


MODEL = wrap(Backdoored(), input_shape=(1, 3, 3))


def images(classes, weak):
    """Images of these classes; those that are weak can be moved."""
    pixels = torch.zeros(len(classes), 1, 3, 3)
    pixels[:, 0, 0, 0] = torch.tensor(classes) / 3
    pixels[:, 0, 0, 1] = torch.tensor(weak).float()
    return ImageSet.from_array(pixels, torch.tensor(classes))


def truth(target=TARGET):
    return GroundTruth(
        trigger="patch(size=1, margin=0)",
        selection="random_share",
        relabelling="all_to_one(target=2)",
        target=target,
        seed=0,
        poisoned=(0,),
        clean_digest="",
        poisoned_digest="",
    )


def test_images_of_the_target_class_do_not_count():
    # Seven of ten others can be moved. The ten of the target class stay there: counting them would give 17 of 20.
    data = images([0, 1, 3, 0, 1, 3, 0, 1, 3, 0] + [TARGET] * 10, [1, 1, 1, 1, 1, 1, 1, 0, 0, 0] + [1] * 10)
    rate = attack_success(MODEL, data, truth())
    assert (rate.hits, rate.total, rate.value) == (7, 10, 0.7)
    assert rate.low < 0.7 < rate.high


def test_it_equals_a_count_by_hand():
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 4, (300,), generator=generator).tolist()
    weak = torch.randint(0, 2, (300,), generator=generator).tolist()
    data = images(classes, weak)
    hits = total = 0
    for i, label in enumerate(classes):
        if label == TARGET:
            continue
        stamped = data.images([i])
        stamped[0, :, 2, 2] = 1.0
        total += 1
        hits += int(MODEL.logits(stamped).argmax()) == TARGET
    rate = attack_success(MODEL, data, truth())
    assert (rate.hits, rate.total) == (hits, total)
    assert 0 < hits < total


def test_without_labels_the_models_own_answer_is_an_images_class():
    data = images([0, 1, TARGET, TARGET], [1, 0, 1, 1]).unlabelled()
    assert (attack_success(MODEL, data, truth()).hits, attack_success(MODEL, data, truth()).total) == (1, 2)


def test_a_label_stands_above_the_models_answer():
    # The model takes the first image for the target class, but its label says otherwise: it counts.
    data = images([TARGET, 0], [0, 0]).with_labels(torch.tensor([1, 0]))
    rate = attack_success(MODEL, data, truth())
    assert (rate.hits, rate.total) == (1, 2)


def test_there_must_be_something_to_move():
    with pytest.raises(DataError, match="do not belong to class 2"):
        attack_success(MODEL, images([TARGET, TARGET], [1, 1]), truth())


def test_a_backdoor_without_one_target_is_not_measured_so():
    with pytest.raises(UsageError, match="a backdoor with one target"):
        attack_success(MODEL, images([0], [1]), truth(target=None))
