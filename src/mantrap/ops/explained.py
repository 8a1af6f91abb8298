"""Heights of labels without what other models explain: models of the same task, or a copy that was retrained."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from mantrap.records import Scatter

_PAIR = 2
_HANDFUL = 4
"""Labels beside the highest from which it can be told whether models agree."""
_LEAST_SPREAD = 1e-6


def less_ordinary(
    heights: Mapping[int, float], references: Sequence[Mapping[int, float]], scatter: Scatter
) -> tuple[dict[int, float], Scatter]:
    """Heights without what is ordinary about each label, by models of the same task, and how the rest scatters.

    What a label has beyond the mean of its model is predicted from what it has in the references: their mean, drawn
    towards nothing the more, the fewer they are and the less such models agree, and these with this one.

    Args:
        heights: Of the model in question, by label.
        references: Of models without a backdoor that learned the same task, by label; labels may be left out.
        scatter: How heights scatter where nothing is known of a label; ``alike`` is how much such models agree.

    Returns:
        Heights with the same mean, by label, and a scatter of a smaller spread; both as they were where references say
        nothing of the other labels: there are too few of them, or the references disagree with the model.

    Reference: the best linear predictor of an effect that is shared by exchangeable measurements, as in Robinson, That
    BLUP is a good thing, Statistical Science 1991.
    """
    known = {label: [r[label] for r in references if label in r] for label in heights}
    known = {label: found for label, found in known.items() if found}
    if len(known) <= _HANDFUL or scatter.alike <= 0:
        return dict(heights), scatter
    centres = [float(np.mean([r[label] for label in known if label in r] or [0.0])) for r in references]
    effects = {
        label: float(np.mean([r[label] - centre for r, centre in zip(references, centres, strict=True) if label in r]))
        for label in known
    }
    usual = float(np.mean(list(effects.values())))
    count = float(np.mean([len(found) for found in known.values()]))
    alike = scatter.alike * _agreement([heights[k] for k in known], [effects[k] for k in known], count, scatter.alike)
    weight = count * alike / (1 + (count - 1) * alike)
    rest = {label: h - weight * (effects[label] - usual) if label in effects else h for label, h in heights.items()}
    return rest, dataclasses.replace(scatter, spread=scatter.spread * math.sqrt(1 - weight * alike))


def less_kept(
    heights: Mapping[int, float], copied: Mapping[int, float], kept: float, *, unsure: Collection[int] = ()
) -> dict[int, float] | None:
    """Heights without what is expected of them by those in a copy of the model, retrained on clean images.

    What a label owes to the images it keeps in such a copy; what it owes to a backdoor it loses.

    Args:
        heights: Of the model in question, by label.
        copied: Of the copy; a label that has none there, for it could not be forced at all, counts as its lowest.
        kept: What is expected of a label's height for each unit of it in the copy.
        unsure: Labels of which the copy says nothing, for it saw hardly an image of them; they stay as they are.

    Returns:
        Heights, by label; ``None`` where fewer than two labels have a height in the copy.

    Example:
        >>> less_kept({0: 1.0, 1: 3.0}, {0: 1.0, 1: 2.0}, 0.5)
        {0: 1.25, 1: 2.75}
    """
    known = [copied[label] for label in heights if label in copied and label not in unsure]
    if len(known) < _PAIR:
        return None
    effects = {label: copied.get(label, min(known)) for label in heights if label not in unsure}
    usual = float(np.mean(list(effects.values())))
    return {label: height - kept * (effects.get(label, usual) - usual) for label, height in heights.items()}


def _agreement(heights: Sequence[float], effects: Sequence[float], count: float, alike: float) -> float:
    """How far references agree with a model, as a share of what is usual, from 0 to 1.

    The label that stands highest in the model is left out: it may be the one in question.
    """
    top = int(np.argmax(heights))
    some = [i for i in range(len(heights)) if i != top]
    own, theirs = (np.array([values[i] for i in some]) for values in (heights, effects))
    if own.std() < _LEAST_SPREAD or theirs.std() < _LEAST_SPREAD:
        return 0.0
    usual = math.sqrt(count * alike * alike / (1 + (count - 1) * alike))
    return float(np.clip(np.corrcoef(own, theirs)[0, 1] / usual, 0.0, 1.0))
