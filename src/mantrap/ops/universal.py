"""One perturbation for all images: the loop behind universal adversarial perturbations."""

import torch

from mantrap.core import SILENT, Classifier, ImageSet, Progress, Rng
from mantrap.core.shapes import Pattern
from mantrap.errors import DataError
from mantrap.ops.pgd import Ascent, Climb, slope
from mantrap.ops.projections import check_ball, onto_ball, onto_box, steepest


def universal_perturbation(
    model: Classifier,
    images: ImageSet,
    *,
    climb: Climb,
    ascent: Ascent,
    batch_size: int,
    rng: Rng,
    progress: Progress = SILENT,
) -> Pattern:
    """One perturbation that makes ``climb`` large, on the average, for whatever image it is added to.

    Every step draws some images, adds the perturbation, clips them to [0, 1], and moves the perturbation along the
    steepest direction of the mean and back onto the ball.

    Args:
        model: The classifier; frozen meanwhile.
        images: What it is learned on, with the labels to lead away from, or towards, as ``climb`` has it.
        climb: What to make large, such as :func:`~mantrap.ops.pgd.away` or :func:`~mantrap.ops.pgd.towards`. Away from
            labels, clip it (``away(...).clamp(max=9)``), or a few images far gone outweigh all others.
        ascent: Norm, radius and steps.
        batch_size: Images in one step.
        rng: Source of randomness.
        progress: Observer of the work.

    Returns:
        The perturbation, [c, h, w], of norm ``ascent.eps`` at most, on the CPU.

    Raises:
        DataError: The images have no labels.
        FailedError: The gradient is not finite.
        UsageError: The ball is larger than the box of pixels.

    Reference: Shafahi et al., Universal Adversarial Training, AAAI 2020, algorithm 2 and equation 4 (clipped loss).

    Deviations: images are drawn with replacement, not in epochs; the step is the steepest one of a fixed norm, where
    the paper has stochastic gradients or Adam; the gradient is taken at the clipped images and passes the clipping, so
    that a perturbation does not get stuck where many images are black or white.
    """
    if images.labels is None:
        raise DataError(expected=f"labels for {images.name}", got="none", remedy="Give the labels to lead to or from.")
    check_ball(ascent.eps, ascent.norm, images.shape)
    perturbation = torch.zeros(1, *images.shape, device=model.device)
    with model.frozen(), progress.stage("universal perturbation", ascent.steps) as stage:
        for number in range(ascent.steps):
            generator = rng.child("step", number=number).torch()
            chosen = torch.randint(len(images), (batch_size,), generator=generator)
            perturbed = onto_box(images.images(chosen.tolist()).to(model.device) + perturbation)
            rise = slope(model, perturbed, images.labels[chosen].to(model.device), climb).mean(0, keepdim=True)
            perturbation = onto_ball(perturbation + ascent.step * steepest(rise, ascent.norm), ascent.eps, ascent.norm)
            stage.advance()
    return perturbation[0].cpu()
