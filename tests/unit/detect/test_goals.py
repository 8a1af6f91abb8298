"""What arms want of each class, and which images they look at for it."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.detect.arm_triggers import PatchArms
from mantrap.detect.arms import ArmSearch
from mantrap.detect.goals import further, to_one
from mantrap.detect.passes import Arm
from tests.planted import Planted

PLAIN = Planted(classes=5)
SETTINGS = PatchArms(steps=10, images_per_step=8)


def search(*arms):
    model = PLAIN.model()
    model.module.eval()
    return ArmSearch(model, PLAIN.images(8, "scan").images(), arms, SETTINGS, Rng(0), at_once=64)


def test_all_to_one_wants_one_label_of_every_class():
    assert to_one(3, 5).tolist() == [3] * 5


@pytest.mark.parametrize(
    ("by", "wanted"), [(1, [1, 2, 3, 4, 0]), (3, [3, 4, 0, 1, 2]), (4, [4, 0, 1, 2, 3]), (5, [0, 1, 2, 3, 4])]
)
def test_further_wants_the_class_so_many_on_and_after_the_last_the_first(by, wanted):
    assert further(by, 5).tolist() == wanted


def test_every_arm_wants_of_an_image_what_its_goal_says_of_the_class_that_the_model_gives_it():
    arms = (Arm(2, 0), Arm(2, 0, further), Arm(4, 0, further))
    one = search(*arms)
    answers = PLAIN.images(8, "scan").labels[one.shown]  # the model is right on every image

    assert torch.equal(one.wanted[0], torch.full_like(answers[0], 2))
    assert torch.equal(one.wanted[1], (answers[1] + 2) % 5)
    assert torch.equal(one.wanted[2], (answers[2] + 4) % 5)


def only_odd(by, classes):
    """Odd classes further on; even ones shall stay."""
    each = torch.arange(classes)
    return torch.where(each % 2 == 1, further(by, classes), each)


def test_an_arm_looks_only_at_images_whose_answer_is_not_wanted_already():
    one = search(Arm(1, 0, further), Arm(1, 0, only_odd))
    every, odd = PLAIN.images(8, "scan").labels[one.shown].flatten(1)

    assert set(every.tolist()) == {0, 1, 2, 3, 4}
    assert set(odd.tolist()) == {1, 3}


def test_where_each_answer_is_wanted_already_it_looks_at_all():
    assert set(search(Arm(5, 0, further)).shown.flatten().tolist()) == set(range(40))


def test_an_arm_that_wants_one_label_of_all_sees_what_it_always_saw():
    by_default, said = search(Arm(3, 1)), search(Arm(3, 1, to_one))

    assert Arm(3, 1) == Arm(3, 1, to_one)
    assert torch.equal(by_default.shown, said.shown)


def test_how_likely_the_wanted_label_is_is_known_of_the_images_of_the_last_step():
    one = search(Arm(2, 0), Arm(1, 0, further))
    stamped = one.triggers.stamped(slice(None), one.images[one.shown[:, 0]])
    shares = one.model.logits(stamped.flatten(0, 1)).detach().softmax(1)
    wanted = one.wanted[:, 0].flatten()
    one.advance()

    assert torch.allclose(one.likely.flatten(), shares[torch.arange(16), wanted], atol=1e-6)


def test_the_usual_margin_is_the_median_one_of_the_likeliest_label_over_the_next():
    one = search(Arm(2, 0))
    first, second = one.model.logits(one.images).detach().topk(2).values.unbind(1)

    assert one.usual_margin == pytest.approx(float((first - second).median()))
    assert one.answers.tolist() == PLAIN.images(8, "scan").labels.tolist()
