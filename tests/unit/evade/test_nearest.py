"""What evasions of the smallest norm share."""

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, Goal
from mantrap.errors import FailedError, ModelError
from mantrap.evade.nearest import Nearest, answers_and_slopes, log_odds, rounding, surely, where_standing
from mantrap.ops.projections import distortion
from tests.lengths import LABELS, MODEL, NEXT, PIXELS, SLOPES, logits, problem


def test_only_images_that_stand_are_searched_for_and_the_others_stay():
    labels = LABELS.clone()
    labels[::3] = NEXT[::3]
    asked = []

    def find(standing):
        asked.append(standing.labels)
        return torch.zeros_like(standing.images)

    made = where_standing(problem(labels=labels), find)

    assert torch.equal(asked[0], torch.cat([labels[1::3, None], labels[2::3, None]], 1).flatten())
    assert torch.equal(made[::3], PIXELS[::3])
    assert float(made[1::3].max()) == float(made[2::3].max()) == 0
    assert where_standing(problem(labels=NEXT), pytest.fail) is not PIXELS


def test_an_answer_that_hangs_on_rounding_has_not_got_there():
    answers = torch.tensor([[10.0, 10.0 + 9e-5], [10.0, 10.0 + 2e-4], [0.0, 10.0]])
    two = Classifier(nn.Linear(1, 2), input_shape=(2, 6, 5), num_classes=2)
    hanging = problem(two, PIXELS[:3], torch.tensor([0, 0, 1]))

    assert hanging.reached(answers).tolist() == [True, True, False]
    assert surely(hanging, answers).tolist() == [False, True, False]
    torch.testing.assert_close(rounding(answers), torch.full((3,), 1e-4), atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("targets", [None, NEXT], ids=["away", "towards"])
def test_log_odds_are_the_logarithm_of_the_goals_probability_against_all_else(targets):
    answers = logits(MODEL, PIXELS)
    own = answers.double().softmax(1).gather(1, (LABELS if targets is None else NEXT)[:, None])[:, 0]
    likely = 1 - own if targets is None else own
    found = log_odds(problem(goal=Goal(targets)), answers)

    torch.testing.assert_close(found.double(), (likely / (1 - likely)).log(), atol=1e-3, rtol=1e-3)
    sure = torch.tensor([[500.0, 0.0, 0.0, 0.0]]).expand(12, -1)
    assert bool(log_odds(problem(labels=torch.zeros_like(LABELS)), sure).isfinite().all())


def test_answers_come_with_the_slope_of_what_is_asked_for():
    with MODEL.frozen():
        answers, heights, slopes = answers_and_slopes(problem(), PIXELS, lambda said: said[:, 2])

    assert torch.equal(answers, logits(MODEL, PIXELS))
    assert torch.equal(heights, answers[:, 2])
    torch.testing.assert_close(slopes, SLOPES[2].expand_as(slopes))
    assert not answers.requires_grad
    assert not heights.requires_grad


def test_heights_that_do_not_hang_on_the_pixels_are_one_clear_error():
    with pytest.raises(ModelError, match="expected an answer that has a gradient"):
        answers_and_slopes(problem(), PIXELS, lambda said: said.detach()[:, 0])
    with pytest.raises(FailedError, match="expected a finite gradient"):
        answers_and_slopes(problem(), PIXELS, lambda said: said[:, 0] * torch.inf)


def test_the_nearest_of_all_offers_that_reach_the_goal_is_kept():
    nearest = Nearest(problem(), "l2")
    assert torch.equal(nearest.images, PIXELS)
    yes = torch.ones(12, dtype=torch.bool)
    nearest.offer(PIXELS + 0.02, yes & (LABELS > 0))
    nearest.offer(PIXELS + 0.01, ~yes)
    nearest.offer(PIXELS + 0.03, yes & (LABELS > 1))
    nearest.offer(PIXELS[4:6] + 0.005, torch.tensor([False, True]), torch.tensor([4, 5]))

    moved = (nearest.images - PIXELS).flatten(1).mean(1)
    wanted = torch.where(LABELS > 0, 0.02, 0.0)
    wanted[5] = 0.005
    torch.testing.assert_close(moved, wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(nearest.norms[5], torch.tensor(0.005 * 60**0.5), atol=1e-5, rtol=0)
    assert nearest.norms.isinf().tolist() == (LABELS == 0).tolist()


def test_the_norm_says_what_is_near():
    one_far, all_near = torch.zeros(12, 2, 6, 5), torch.full((12, 2, 6, 5), 0.05)
    one_far[:, 0, 0, 0] = 0.1
    for norm, best in (("l2", one_far), ("linf", all_near), ("l1", one_far)):
        nearest = Nearest(problem(), norm)
        for step in (one_far, all_near):
            nearest.offer(PIXELS + step, torch.ones(12, dtype=torch.bool))
        torch.testing.assert_close(nearest.images, PIXELS + best)


def test_distortion_is_the_root_of_the_mean_square():
    steps = torch.zeros(2, 1, 2, 2)
    steps[0, 0, 0, 0], steps[1] = 0.4, -0.3

    torch.testing.assert_close(distortion(steps), torch.tensor([0.2, 0.3]))
