"""The worst case of several evasions: each image meets one after the other until one misleads the model."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch

from mantrap.core import SILENT, Classifier, Evasion, MinimalEvasion, Problem, Progress, Rng, Spec, require
from mantrap.core.shapes import Images
from mantrap.errors import SpecError, UsageError
from mantrap.evade.apgd import Apgd
from mantrap.evade.single import SINGLE
from mantrap.ops.projections import Norm, check_ball, norms, require_ball
from mantrap.ops.scores import finite_logits

_ROUNDING = 1 + 1e-5
"""How far beyond the budget rounding may lead."""


@dataclass(frozen=True, kw_only=True)
class WorstCase:
    """Ask several evasions one after the other, each for the images that stood all before: what is left is robust.

    Use it to say how robust a model is: no single evasion is the best one everywhere, and one that asks for no gradient
    sees through defences that only spoil these. By default it is the like of AutoAttack.

    Args:
        eps: Budget of all of them, of pixels in [0, 1].
        norm: ``"linf"`` or ``"l2"``.
        of: Specs of evasions without budget and norm. One of the smallest norm takes part as well: what it finds within
            the budget counts. One that needs more classes than the model has is left out, and that is noted.

    An image that is taken for another class already stays as it is. Of several attempts on an image that stood them all
    the one that came nearest is given back.

    Reference: Croce and Hein, Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
    attacks, ICML 2020, section 5. Deviations: the default has neither FAB nor APGD-T; name
    ``apgd(loss='dlr', classes=9)`` for the latter.
    """

    name: ClassVar[str] = "worst_case"
    quick: ClassVar[str] = "worst_case(eps=0.1, of=('apgd(steps=4)', 'square(queries=50)'))"
    needs_gradients: ClassVar[bool] = True
    aims: ClassVar[bool] = True
    eps: float = 0.25
    norm: Norm = "linf"
    of: tuple[str, ...] = ("apgd", "apgd(loss='dlr')", "square")

    def __post_init__(self) -> None:
        require_ball(self.eps, self.norm)
        require(len(self.of) > 0, field="of", expected="one evasion, at least", got=self.of)
        self.members  # noqa: B018 - refuses what does not fit

    @property
    def members(self) -> tuple[Evasion, ...]:
        """The evasions, with the budget and the norm."""
        return tuple(self._member(Spec.parse(spec)) for spec in self.of)

    def _member(self, spec: Spec) -> Evasion:
        handed = {"eps": self.eps, "norm": self.norm}
        if given := handed.keys() & spec.options.keys():
            raise _misfit("evasions without eps and norm, for they are handed down", f"{spec} with {min(given)}")
        known = {field.name for field in dataclasses.fields(SINGLE.kind(spec.name))}  # type: ignore[arg-type]
        if "eps" in known:
            spec = Spec(spec.name, {**spec.options, "eps": self.eps})
        if "norm" in known:
            spec = Spec(spec.name, {**spec.options, "norm": self.norm})
        one = SINGLE.create(spec)
        if not isinstance(one, MinimalEvasion) or one.norm != self.norm:
            raise _misfit(f"evasions that can be held to a budget in {self.norm}", f"{spec.name}")
        return one

    def notes(self, model: Classifier) -> tuple[str, ...]:
        """What could not be asked."""
        out = [spec for spec, one in zip(self.of, self.members, strict=True) if not _can_ask(one, model)]
        return tuple(f"Left out is {spec}: it needs more classes than {model.num_classes}." for spec in out)

    def search(self, problem: Problem, *, rng: Rng, progress: Progress = SILENT) -> Images:
        """See :class:`~mantrap.core.Evasion`."""
        check_ball(self.eps, self.norm, problem.model.input_shape)
        members = self._asked(problem)
        with torch.no_grad():
            logits = finite_logits(problem.model, problem.images)
        kept, farthest = problem.images.clone(), problem.margins(logits)
        left = (~problem.reached(logits)).nonzero()[:, 0]
        with progress.stage(self.name, len(members)) as stage:
            for number, member in enumerate(members):
                stage.advance(note=member.name)
                if not len(left):
                    continue
                here = problem.only(left)
                tried = member.search(here, rng=rng.child(member.name, number=number), progress=progress).detach()
                with torch.no_grad():
                    logits = finite_logits(problem.model, tried)
                within = norms(tried - here.images, self.norm) <= self.eps * _ROUNDING
                margins = here.margins(logits)
                better = within & (margins > farthest[left])
                kept[left[better]], farthest[left[better]] = tried[better], margins[better]
                left = left[~(within & here.reached(logits))]
        return kept

    def _asked(self, problem: Problem) -> list[Evasion]:
        """Those that can do with the model's classes and with the goal."""
        asked = [one for one in self.members if _can_ask(one, problem.model)]
        if not asked:
            raise UsageError(
                expected=f"an evasion that can do with the model's {problem.model.num_classes} classes",
                got=", ".join(self.of),
                remedy="Add another one, such as apgd or square.",
            )
        for one in asked:
            if problem.goal.targets is not None and not one.aims:
                raise UsageError(
                    expected="evasions that can lead to a target",
                    got=f"{one.name}, which only leads away from the own class",
                    remedy="Leave it out, or the targets.",
                )
        return asked


def _can_ask(one: Evasion, model: Classifier) -> bool:
    return not isinstance(one, Apgd) or one.least_classes <= model.num_classes


def _misfit(expected: str, got: str) -> SpecError:
    return SpecError(expected=expected, got=got, remedy="Choose other evasions for `of`.")
