"""Whether evasions failed because they could not see: what must be looked at before a model is called robust."""

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from mantrap.core import Evasion, Problem, Rng
from mantrap.errors import ModelError
from mantrap.evade import Fgsm, Pgd, RandomFgsm, perturb
from mantrap.evade.soundness import flat, sums_to_one, undecided
from mantrap.ops.intervals import wilson
from mantrap.records.evading import CautionRecord
from mantrap.workflow.evaded import Evaded
from mantrap.workflow.evading import spent_of
from mantrap.workflow.led_astray import Tried, Victims

_FEW = 0.05
"""Share of images that may be so by chance, or because a network is sure of them.

A sign is seen where the whole interval of 95 % lies above it, so that one image of ten is none.
"""
_FEWEST_FOR_DLR = 4


def cautions(among: Victims, evaded: Sequence[Evaded], rng: Rng) -> tuple[CautionRecord, ...]:
    """Every sign, seen or not.

    Args:
        among: Images that the model gets right.
        evaded: What evasions came to.
        rng: Source of randomness.

    Reference: Carlini et al., On Evaluating Adversarial Robustness, 2019, section 3.1 and 5; Athalye et al., Obfuscated
    Gradients Give a False Sense of Security, ICML 2018, section 3.1; Croce and Hein, ICML 2020, on the DLR loss.
    """
    problem = among.first()
    with problem.model.frozen():
        return (
            *_of_the_model(problem),
            _any_picture(problem, rng),
            *_beside_each_other([one for each in evaded for one in each.tried]),
        )


def _of_the_model(problem: Problem) -> Iterator[CautionRecord]:
    nowhere = flat(problem)
    if nowhere is None:
        yield CautionRecord(
            name="no gradient",
            raised=True,
            says="The model's answer is cut off from the pixels: evasions by gradients can do nothing.",
        )
    else:
        share = wilson(int(nowhere.sum()), len(nowhere))
        yield CautionRecord(
            name="zero gradients",
            raised=share.low > _FEW,
            says=f"The loss has no slope at all at {share.hits} of {share.total} images.",
        )
    again = undecided(problem)
    yield CautionRecord(
        name="randomness",
        raised=again,
        says="Asked again, the model gives the same images other answers."
        if again
        else "Asked again, the model gives the same answers.",
    )
    whole = sums_to_one(problem)
    yield CautionRecord(
        name="probabilities",
        raised=whole,
        says="The model gives probabilities and no logits, so its loss is flat where it is sure."
        if whole
        else "The model gives logits.",
    )
    classes = problem.model.num_classes
    yield CautionRecord(
        name="few classes",
        raised=None if classes < _FEWEST_FOR_DLR else False,
        says=f"Of {classes} classes the loss of apgd(loss='dlr') "
        + ("says nothing; it needs four." if classes < _FEWEST_FOR_DLR else "can be had."),
    )


def _any_picture(problem: Problem, rng: Rng) -> CautionRecord:
    """Whether a budget that allows any picture is enough, as it must be."""
    model, labels = problem.model, problem.labels
    try:
        made = perturb(Pgd(eps=1.0), model, problem.images, labels, rng=rng.child("any picture"))
    except ModelError:
        return CautionRecord(name="unlimited budget", raised=None, says="Nothing can be said without a gradient.")
    with torch.no_grad():
        said = model.logits(made.images).argmax(1)
    still = wilson(int((said == labels).sum()), len(labels))
    return CautionRecord(
        name="unlimited budget",
        raised=still.low > _FEW,
        says=f"With a budget that allows any picture pgd leaves {still.hits} of {still.total} images right.",
    )


def _beside_each_other(tried: Sequence[Tried]) -> Iterator[CautionRecord]:
    """Whether evasions that can do less do more."""
    yield _outdone("one step beats many", tried, _in_many_steps, _in_one_step, ("many steps", "a single step"))
    yield _outdone("black box beats white box", tried, _by_gradients, _by_answers, ("gradients", "answers alone"))


def _outdone(
    name: str,
    tried: Sequence[Tried],
    strong: Callable[[Evasion], bool],
    weak: Callable[[Evasion], bool],
    means: tuple[str, str],
) -> CautionRecord:
    """Whether one kind of evasions leads images to the goal that another kind does not, with the same budget."""
    worst: tuple[float, str] | None = None
    for norm, eps in sorted({(spent_of(one.evasion), one.eps) for one in tried}):
        alike = [one for one in tried if (spent_of(one.evasion), one.eps) == (norm, eps)]
        by_strong, by_weak = (_led([one for one in alike if fits(one.evasion)]) for fits in (strong, weak))
        if by_strong is None or by_weak is None:
            continue
        more = wilson(int((by_weak & ~by_strong).sum()), len(by_weak))
        says = (
            f"With eps {eps:.4g} ({norm}) {means[1]} misled it on {more.hits} of {more.total} images that {means[0]} "
        )
        worst = max(worst or (-1.0, ""), (more.low, f"{says}left right."))
    if worst is None:
        return CautionRecord(name=name, raised=None, says=f"No evasions by {means[0]} and by {means[1]} were tried.")
    return CautionRecord(name=name, raised=worst[0] > _FEW, says=worst[1])


def _led(tried: Sequence[Tried]) -> Bool[Tensor, " n"] | None:
    """Where any of these evasions led an image to the goal, [n]; ``None`` where there are none of them.

    Where each is led to a class of its own, a mistake on the way is none of what was asked for.
    """
    return torch.stack([one.astray.reached for one in tried]).any(0) if tried else None


def _in_many_steps(evasion: Evasion) -> bool:
    return evasion.needs_gradients and getattr(evasion, "steps", 0) > 1


def _in_one_step(evasion: Evasion) -> bool:
    return evasion.needs_gradients and (isinstance(evasion, (Fgsm, RandomFgsm)) or getattr(evasion, "steps", 0) == 1)


def _by_gradients(evasion: Evasion) -> bool:
    return evasion.needs_gradients


def _by_answers(evasion: Evasion) -> bool:
    return not evasion.needs_gradients
