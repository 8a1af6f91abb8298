"""What is retrained on, and the logits that are to be matched."""

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.poison.triggers.patch import Patch
from mantrap.poison.trojaning import SoftLabels, retraining_set
from mantrap.training import Recipe, fit


def identity():
    """The logits are the three pixels."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(3, 3, bias=False))
    module.load_state_dict({"1.weight": torch.eye(3)})
    return Classifier(module, input_shape=(1, 1, 3), num_classes=3)


IMAGES = torch.tensor([[0.9, 0.1, 0.2], [0.2, 0.3, 0.8], [0.1, 0.6, 0.5]]).view(3, 1, 1, 3)


def test_every_image_of_another_class_comes_once_more_with_trigger_and_target():
    images = ImageSet.from_array(IMAGES, [0, 2, 1])
    both = retraining_set(images, Patch(size=1, margin=0), 2, rng=Rng(0))

    assert both.labels.tolist() == [0, 2, 1, 2, 2]
    assert torch.equal(both.images([0, 1, 2]), IMAGES)
    torch.testing.assert_close(both.images([3, 4])[..., :2], IMAGES[[0, 2]][..., :2])
    assert bool((both.images([3, 4])[..., 2] == 1).all())


def test_logits_stay_where_the_model_agrees_and_the_label_gets_its_probability_where_not():
    wanted = SoftLabels(identity(), 0.9).wanted(IMAGES, torch.tensor([0, 0, 1]))

    torch.testing.assert_close(wanted[[0, 2]], IMAGES[[0, 2]].flatten(1))
    torch.testing.assert_close(wanted[1, 1:], IMAGES[1].flatten()[1:])
    torch.testing.assert_close(wanted[1].softmax(0)[0], torch.tensor(0.9))


def test_the_loss_is_the_mean_squared_difference_and_right_answers_are_counted():
    model, soft = identity(), SoftLabels(identity(), 0.9)
    labels = torch.tensor([0, 0, 1])
    batch = soft.loss(model, IMAGES, labels, companions={}, rng=Rng(0))
    raised = float(soft.wanted(IMAGES, labels)[1, 0]) - 0.2

    assert float(batch.loss.detach()) == pytest.approx(raised**2 / 9, rel=1e-4)
    assert (batch.hits, batch.total) == (2, 3)


def test_the_logits_are_those_from_before_the_retraining():
    model = identity()
    soft = SoftLabels(model, 0.9)
    with torch.no_grad():
        model.module[1].weight.zero_()
    torch.testing.assert_close(soft.wanted(IMAGES, torch.tensor([0, 2, 1])), IMAGES.flatten(1))


def test_a_model_that_is_matched_to_itself_does_not_move():
    images = ImageSet.from_array(IMAGES, [0, 2, 1])
    trained = fit(identity(), images, recipe=Recipe(epochs=3), rng=Rng(0), objective=SoftLabels(identity(), 0.9))
    torch.testing.assert_close(trained.model.module[1].weight.detach(), torch.eye(3))
