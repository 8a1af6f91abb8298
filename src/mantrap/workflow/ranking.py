"""One order of suspicion out of the answers of several screens."""

import csv
import io
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from mantrap.core import ImageSet, Screened
from mantrap.records.files import harmless


def flagged_by_any(found: Sequence[Screened]) -> Bool[Tensor, " n"]:
    """Which images some screen flags, [n]."""
    return torch.stack([screened.flagged for screened in found]).any(0)


def ranking(found: Sequence[Screened]) -> Int64[Tensor, " n"]:
    """The numbers of all images, the most suspicious first, [n].

    Flagged images come before all others. Among either, an image stands where the screen puts it to which it is most
    suspicious, for flagged ones among those that flag it; scores of two screens are never compared.
    """
    flagged = torch.stack([screened.flagged for screened in found])
    above = torch.stack([_above(screened.scores) for screened in found])
    unseen = torch.where(flagged | ~flagged.any(0), above, torch.full_like(above, above.shape[1]))
    best = unseen.amin(0)
    order = best.argsort(stable=True)
    return order[(~flagged.any(0))[order].long().argsort(stable=True)]


def _above(scores: Tensor) -> Int64[Tensor, " n"]:
    """How many images score higher than each, [n]."""
    ascending = scores.sort().values
    return len(scores) - torch.searchsorted(ascending, scores.contiguous(), right=True)


def ranked_table(images: ImageSet, found: Sequence[Screened], order: Int64[Tensor, " n"]) -> str:
    """All images in an order as comma-separated text: rank, number, file, label, class, who flags it, scores.

    Args:
        images: The set, with labels.
        found: What the screens say of it.
        order: What :func:`ranking` gives.
    """
    assert images.labels is not None
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("rank", "index", "file", "label", "class", "flagged by", *(screened.screen for screened in found)))
    labels, flags = images.labels.tolist(), [screened.flagged.tolist() for screened in found]
    scores = [screened.scores.tolist() for screened in found]
    for rank, number in enumerate(order.tolist(), start=1):
        who = " ".join(s.screen for s, flag in zip(found, flags, strict=True) if flag[number])
        label = labels[number]
        name = images.class_names[label] if label < len(images.class_names) else str(label)
        shown = (f"{values[number]:.6g}" for values in scores)
        file = images.files[number] if images.files else ""
        table.writerow((rank, number, harmless(file), label, harmless(name), who, *shown))
    return text.getvalue()
