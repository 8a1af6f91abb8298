"""What came of adversarial examples as a page and as text."""

from dataclasses import dataclass

from mantrap.records import Rate
from mantrap.records.evading import AREA, AimedAt, BudgetRecord, EvadeRecord, SweepRecord
from mantrap.report.page import Opening, render_page, stages_of
from mantrap.report.plot import Plot, Series, Values, draw_plot, draw_values
from mantrap.report.words import VerdictWords, interval, name_of, number, percent, scrub

NORM_WORDS = {
    "linf": "the largest change of a pixel's value",
    "l2": "the Euclidean length of the change",
    "l1": "the sum of all changes",
    AREA: "the share of the picture that is painted over",
}
"""What perturbations are measured by, in words; pixels are from 0 to 1."""


@dataclass(frozen=True)
class Norm:
    """All evasions with one norm: budgets with accuracy under all of them and under noise, drawn and as rows."""

    name: str
    words: str
    plot: Plot | None
    rows: tuple[tuple[float, Rate, Rate | None], ...]


@dataclass(frozen=True)
class Sweep:
    """The logits of one image along the sign of its gradient."""

    record: SweepRecord
    plot: Plot


def words_of(record: EvadeRecord) -> VerdictWords:
    """What was found, for somebody who has to decide."""
    if any(caution.raised for caution in record.cautions):
        return VerdictWords(
            "Not to be relied on",
            "Some evasions failed for other reasons than that the model is robust: see below which. Accuracy under "
            "them is no lower bound; other evasions may find more.",
        )
    return VerdictWords(
        "Measured",
        "This is what the model still gets right when its images are changed on purpose, by the evasions that were "
        "asked. Others may find more: the figures bound its robustness from above, never from below.",
    )


def render_evade_html(record: EvadeRecord) -> str:
    """The report of evasions as one static page, which loads nothing and runs no script.

    Args:
        record: A whole run, fresh or read back from its JSON.

    Returns:
        HTML, the same for the same record.
    """
    raised = any(caution.raised for caution in record.cautions)
    opening = Opening(
        words=words_of(record),
        colour="inconclusive" if raised else "measured",
        about=record.model.file_name,
        headline=record.headline,
    )
    return render_page(
        "evade.html",
        record,
        opening,
        norms=[_norm(name, record) for name in dict.fromkeys(one.norm for one in record.evasions)],
        norm_words=NORM_WORDS,
        led="to a class that was drawn for it" if record.aim is AimedAt.RANDOM else "to any other class",
        sweeps=[Sweep(one, _swept(one)) for one in record.sweeps],
        stages=stages_of(record),
    )


def _norm(name: str, record: EvadeRecord) -> Norm:
    """What no evasion with a norm gets wrong."""
    spent = [budget for one in record.evasions if one.norm == name for budget in one.budgets]
    noise = {budget.eps: budget.noise for budget in spent if budget.noise is not None}
    right = {one.eps: one.accuracy for one in record.standing if one.norm == name}
    rows = tuple((eps, right[eps], noise.get(eps)) for eps in sorted(right))
    lines = [Series("all evasions together", "bad", ((0.0, record.accuracy), *right.items()), banded=True)]
    if noise:
        lines.append(Series("noise of the same size", "other", ((0.0, record.accuracy), *sorted(noise.items()))))
    plot = draw_plot(f"Accuracy against the budget, {name}", f"budget: {NORM_WORDS[name]}", lines) if right else None
    return Norm(name, NORM_WORDS[name], plot, rows)


def _swept(sweep: SweepRecord) -> Plot:
    """The own class, the classes that win at either end, and some others."""
    along, against = (max(sweep.logits, key=lambda one: one.values[end]) for end in (-1, 0))
    named = {along.label: "bad", against.label: "other"} | {sweep.label: "good"}
    faint_first = sorted(sweep.logits, key=lambda one: one.label in named)
    lines = [
        Values(
            name_of(one.label, one.class_name) if one.label in named else "",
            named.get(one.label, "faint"),
            tuple(zip(sweep.eps, one.values, strict=True)),
        )
        for one in faint_first
    ]
    far, back = (name_of(one.label, one.class_name) for one in (along, against))
    said = f"Far along the gradient the model says {far}, far against it {back}."
    return draw_values(f"Logits of image {sweep.number} along the gradient's sign", "eps", lines, said)


def render_evade_text(record: EvadeRecord) -> str:
    """The report of evasions as text, ending without a newline."""
    words = words_of(record)
    behind = "" if record.transformation is None else f" behind {record.transformation}"
    lines = [f"{words.title.upper()}  {record.model.file_name}{behind}", record.headline, "", words.meaning]
    for one in record.evasions:
        lines += ["", f"{one.evasion} ({one.norm})"]
        if one.smallest is not None and one.smallest.quartiles is not None:
            low, middle, high = one.smallest.quartiles
            lines.append(
                f"  misleads {percent(one.smallest.reached.value)} of images that were right; half of them by "
                f"{number(middle)} or less (quarters {number(low)} and {number(high)})"
            )
        lines += [_spent(budget) for budget in one.budgets]
        lines += [f"  {note}" for note in one.notes]
    raised = [caution for caution in record.cautions if caution.raised]
    if raised:
        lines += ["", "False security", *(f"  - {caution.says}" for caution in raised)]
    return "\n".join(scrub(line) if line else "" for line in lines)


def _spent(budget: BudgetRecord) -> str:
    right = budget.accuracy
    sure = "" if budget.confidence is None else f", {percent(budget.confidence)} sure of its mistakes"
    noise = "" if budget.noise is None else f"; with noise {percent(budget.noise.value)}"
    if budget.unaware is not None:
        noise += f"; made without the transformation {percent(budget.unaware.value)}"
    ends = interval((right.low, right.high))
    return f"  {budget.eps:.4g}: right on {percent(right.value)} ({ends}){sure}{noise}"
