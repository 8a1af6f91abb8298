"""What a model is like around an image: how linear, and what its logits do along the sign of its gradient."""

import torch

from mantrap.core.shapes import Logits
from mantrap.evade.soundness import margin_slope
from mantrap.ops.scores import finite_logits
from mantrap.records.evading import LinearRecord, LogitRecord, StepRecord, SweepRecord
from mantrap.workflow.led_astray import Victims

_SWEPT = 2
"""Images of which logits are shown, the first ones."""
_PLACES = 41
"""Of a sweep, from far on one side to far on the other."""
_OTHERS = 6
"""Classes of a sweep that are kept beside the own one and those that win at its ends."""


def linearity(among: Victims, steps: tuple[float, ...]) -> LinearRecord:
    """How far a step along the sign of the gradient moves the margin, beside what the gradient foretells.

    Pixels may leave their range here, for the model alone is asked about.

    Args:
        among: Images that the model gets right.
        steps: Sizes of steps, above 0.

    Raises:
        ModelError: The model's answer is cut off from the pixels.

    Reference: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 3: for a linear
    function of n values with weights of mean size m the step moves it by eps * m * n.
    """
    problem = among.first()
    with among.model.frozen(), torch.no_grad():
        slopes = margin_slope(problem)
        steep = slopes.abs().flatten(1)
        before = problem.margins(finite_logits(among.model, problem.images))
        found = []
        for eps in steps:
            after = problem.margins(finite_logits(among.model, problem.images + eps * slopes.sign()))
            happened, foretold = float((after - before).mean()), float(eps * steep.sum(1).mean())
            found.append(StepRecord(eps=eps, foretold=foretold, happened=happened))
    return LinearRecord(values=steep.shape[1], slope=float(steep.mean()), steps=tuple(found))


def sweeps(among: Victims, largest: float) -> tuple[SweepRecord, ...]:
    """The logits of a few images along the sign of their gradient, as far as ``largest`` on either side.

    Raises:
        ModelError: The model's answer is cut off from the pixels.

    Reference: Goodfellow et al., Explaining and Harnessing Adversarial Examples, ICLR 2015, section 8 and figure 4.
    """
    problem, model = among.first(_SWEPT), among.model
    places = torch.linspace(-largest, largest, _PLACES)
    found = []
    with model.frozen(), torch.no_grad():
        signs = margin_slope(problem).sign()
        for place, number in enumerate(among.numbers[: len(problem)]):
            along = problem.images[place] + places.view(-1, 1, 1, 1).to(model.device) * signs[place]
            logits = finite_logits(model, along).cpu()
            found.append(
                SweepRecord(
                    number=number,
                    label=(own := int(among.labels[place])),
                    true_class=model.class_names[own],
                    eps=tuple(places.tolist()),
                    logits=tuple(
                        LogitRecord(label=k, class_name=model.class_names[k], values=tuple(logits[:, k].tolist()))
                        for k in _followed(logits, own)
                    ),
                )
            )
    return tuple(found)


def _followed(logits: Logits, own: int) -> tuple[int, ...]:
    """The classes of a sweep that are worth a look: the own one, the winners at its ends, and the highest others."""
    named = dict.fromkeys((own, int(logits[-1].argmax()), int(logits[0].argmax())))
    falling = logits.amax(0).argsort(descending=True, stable=True).tolist()
    return (*named, *[k for k in falling if k not in named][:_OTHERS])
