"""Adversarial examples as pictures that a file holds, and that still do what they were made for."""

from typing import Final

import torch

from mantrap.core import Classifier, Cost, Evasion, Goal, MinimalEvasion
from mantrap.core.shapes import Images, Labels, Logits
from mantrap.ops.eight_bits import as_saved
from mantrap.ops.scores import finite_logits
from mantrap.workflow.evading import is_budgeted, norm_of

_FACTORS: Final = (1.02, 1.05, 1.1, 1.2, 1.5)
"""By how much a smallest perturbation that rounding undoes is made longer, one after the other."""


def answers(model: Classifier, images: Images) -> Logits:
    """The model's answer to a batch, [n, k], on the CPU."""
    with model.frozen(), torch.no_grad():
        return finite_logits(model, images.to(model.device)).cpu()


def saved_of(
    evasion: Evasion, made: Images, originals: Images, *, model: Classifier, labels: Labels, goal: Goal
) -> tuple[Images, Cost]:
    """What is left of adversarial examples when they are written as 8-bit pictures, and what it cost to know.

    One with a budget keeps to it. The smallest perturbations end just behind the border, and rounding leads half of
    them back: these are made a little longer, up to a half, until the picture is where the example was. How far it is
    changed is for the caller to measure.

    Args:
        evasion: Who made them.
        made: The examples, [n, c, h, w].
        originals: What they were made of, in whole grey levels, [n, c, h, w].
        model: For whom they were made.
        labels: The own classes, [n].
        goal: Where they were to be led.
    """
    if is_budgeted(evasion):
        return as_saved(made, originals, eps=evasion.eps, norm=norm_of(evasion)), Cost()
    saved = as_saved(made, originals)
    if not isinstance(evasion, MinimalEvasion):
        return saved, Cost()
    there, still = (goal.reached(answers(model, images), labels) for images in (made, saved))
    lost, asked = there & ~still, 2 * len(made)
    for factor in _FACTORS:
        if not bool(lost.any()):
            break
        longer = as_saved((originals + factor * (made - originals)).clamp(0, 1), originals)
        back = lost & goal.reached(answers(model, longer), labels)
        saved, lost, asked = torch.where(back.view(-1, 1, 1, 1), longer, saved), lost & ~back, asked + len(made)
    return saved, Cost(forward=asked)
