"""Defences that only look robust are reported as such, and a plain model is not."""

from typing import ClassVar

import pytest
import torch

from mantrap.core import SILENT, Rng
from mantrap.evade import Bim, Fgsm, RandomFgsm, WorstCase
from mantrap.evade.fgsm import fgsm
from mantrap.records import AimedAt
from mantrap.workflow.evade import evade
from tests.evading import TWO, Turned, behind, work
from tests.planted import Planted
from tests.scans import SMALL

SIGNS = (
    "zero gradients",
    "randomness",
    "probabilities",
    "few classes",
    "unlimited budget",
    "one step beats many",
    "black box beats white box",
)


class Shot(Fgsm):
    """An evasion by answers alone: it goes where a linear model of two classes is known to lie."""

    name: ClassVar[str] = "shot"
    needs_gradients: ClassVar[bool] = False

    def search(self, problem, *, rng, progress=SILENT):
        del rng, progress
        ways = TWO.templates[1 - problem.labels] - TWO.templates[problem.labels]
        return (problem.images + self.eps * ways.sign()).clamp(0, 1)


USUAL = (Fgsm(), Bim())


def seen(change=None, evasions=USUAL, *, planted=TWO, **changes):
    """Each sign: whether it was seen, and what is said."""
    if change is not None:
        changes["model"] = behind(change, planted)
    record = evade(work(evasions, planted=planted, each=10, **changes))
    return {caution.name: (caution.raised, caution.says) for caution in record.cautions}


def raised(found):
    return {name for name, (seen, _) in found.items() if seen}


def test_every_sign_is_looked_for_in_a_plain_model_and_none_is_seen():
    found = seen(planted=SMALL)

    assert tuple(found) == SIGNS
    assert not raised(found)
    assert found["black box beats white box"][0] is None
    assert found["few classes"][0] is False


def test_of_two_classes_the_loss_of_apgd_cannot_be_had():
    assert seen()["few classes"] == (None, "Of 2 classes the loss of apgd(loss='dlr') says nothing; it needs four.")


def test_probabilities_are_no_logits():
    assert raised(seen(lambda logits: (0.1 * logits).softmax(1))) == {"probabilities"}


def test_a_loss_that_is_flat_has_zero_gradients():
    found = seen(lambda logits: (logits * 1000).softmax(1))

    assert raised(found) >= {"zero gradients", "probabilities", "unlimited budget"}
    assert found["zero gradients"][1] == "The loss has no slope at all at 20 of 20 images."


def test_an_answer_that_differs_is_random():
    noise = Rng(0).torch()
    found = seen(lambda logits: logits + 0.01 * torch.randn(logits.shape, generator=noise))

    assert "randomness" in raised(found)


@pytest.mark.parametrize("change", [torch.Tensor.detach, torch.Tensor.round], ids=["cut off", "rounded"])
def test_evasions_by_answers_alone_beat_what_hides_its_gradient(change):
    found = seen(change, (Shot(eps=0.25),))

    assert found.get("no gradient", (False,))[0] or found["zero gradients"][0]


def test_a_gradient_that_leads_the_wrong_way_is_found_out():
    found = seen(Turned.apply, (Fgsm(eps=0.28), Bim(eps=0.28), Shot(eps=0.28)))

    assert raised(found) == {"unlimited budget", "black box beats white box"}
    assert found["unlimited budget"][1] == "With a budget that allows any picture pgd leaves 20 of 20 images right."
    assert found["black box beats white box"][1].endswith(
        "answers alone misled it on 20 of 20 images that gradients left right."
    )


def test_an_evasion_of_many_steps_that_does_less_than_one_step_is_found_out():
    found = seen(evasions=(Fgsm(eps=0.28), Bim(eps=0.28, steps=2, step=0.01)))

    assert raised(found) == {"one step beats many"}
    assert found["one step beats many"][1].startswith("With eps 0.28 (linf) a single step misled it on 20 of 20 images")


class Half(Fgsm):
    """A single step that leads the wrong way but for the first images."""

    def search(self, problem, *, rng, progress=SILENT):
        del rng, progress
        made = fgsm(problem, self.eps)
        return torch.where((torch.arange(len(made)) < 2).view(-1, 1, 1, 1), made, problem.images)


def test_a_few_images_are_no_sign():
    # Two of twenty are a tenth, which may be chance: from 3 to 30 per cent.
    found = seen(evasions=(Half(eps=0.28), Bim(eps=0.28, steps=2, step=0.01)))

    assert found["one step beats many"] == (
        False,
        "With eps 0.28 (linf) a single step misled it on 2 of 20 images that many steps left right.",
    )


def test_a_mistake_on_the_way_to_a_class_that_was_drawn_is_no_sign():
    # One step towards a class ends in yet another one; many steps that lead nowhere are no worse for that.
    class Astray(Fgsm):
        def search(self, problem, *, rng, progress=SILENT):
            del rng, progress
            third = (problem.goal.targets + 1) % 4
            third = torch.where(third == problem.labels, (third + 1) % 4, third)
            return SMALL.templates[third]

    still = Bim(eps=0.9, steps=2, step=0.001)
    found = seen(planted=SMALL, evasions=(Astray(eps=0.9), still), aim=AimedAt.RANDOM, budgets=(0.9,))

    assert found["one step beats many"][0] is False


def test_the_worst_case_of_many_attacks_is_no_single_step():
    lazy = Bim(eps=0.28, steps=2, step=0.01)
    found = seen(evasions=(lazy, WorstCase(eps=0.28, of=("fgsm",))))

    assert found["one step beats many"][0] is None


def test_a_random_step_and_one_of_one_are_single_steps():
    lazy = Bim(eps=0.6, steps=2, step=0.01)
    for one in (RandomFgsm(eps=0.6), Bim(eps=0.6, steps=1, step=1.0)):
        assert raised(seen(evasions=(lazy, one))) == {"one step beats many"}


def test_a_model_that_is_robust_indeed_is_no_false_security():
    # Far apart: the nearest other class is a half away, so that nothing smaller than that can be found by anybody.
    far = Planted(shape=(1, 8, 8), classes=2, amplitude=0.45, base=0.5, seed=5)
    found = seen(planted=far, evasions=(Fgsm(eps=0.2), Bim(eps=0.2), Shot(eps=0.2)))

    assert not raised(found)


def test_without_a_gradient_what_needs_one_is_said_to_be_unknown():
    found = seen(torch.Tensor.detach, (Shot(),))

    assert found["no gradient"] == (
        True,
        "The model's answer is cut off from the pixels: evasions by gradients can do nothing.",
    )
    assert found["unlimited budget"] == (None, "Nothing can be said without a gradient.")
    assert "zero gradients" not in found
