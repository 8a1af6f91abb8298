"""The record of a repair as a page and as text."""

from dataclasses import dataclass

from mantrap.records import CleanseRecord, Outcome, Rate, TriggerRecord
from mantrap.report.page import Opening, render_page, stages_of
from mantrap.report.plot import Plot, Series, draw_plot
from mantrap.report.words import VerdictWords, interval, name_of, percent, scrub

OUTCOME_WORDS: dict[Outcome, VerdictWords] = {
    Outcome.REPAIRED: VerdictWords(
        "Repaired",
        "Nothing that was tried shows the backdoor any more: no known trigger works, an audit of the repaired file "
        "does not accuse it, and no trigger of which that could be told comes back sooner than one that the model has "
        "never seen. That does not prove that the model is clean: a trigger that nobody has recovered was not "
        "unlearned.",
    ),
    Outcome.NOT_REPAIRED: VerdictWords(
        "Not repaired",
        "Do not deploy the file that was written: the reasons say what is left of the backdoor. Try another repair, or "
        "longer steps, or train a model anew from data that you trust.",
    ),
}


@dataclass(frozen=True)
class Row:
    """One thing that was measured: before, repaired, control."""

    title: str
    rates: tuple[Rate, Rate, Rate]


def rows_of(record: CleanseRecord) -> list[Row]:
    """What was measured before and after, a row for each."""
    rows = [Row(_works_on(t), (t.before, t.after, t.control)) for t in record.triggers]
    if record.accuracy is not None and record.control_accuracy is not None:
        accuracies = (record.accuracy.second, record.accuracy.first, record.control_accuracy.first)
        rows.append(Row("Accuracy", accuracies))
    return rows


def _works_on(trigger: TriggerRecord) -> str:
    kind = f"{trigger.kind[:1].upper()}{trigger.kind[1:]}"
    return f"{kind} for label {name_of(trigger.label, trigger.class_name)} works on"


def _pruning(record: CleanseRecord) -> Plot | None:
    """How accuracy and success went with the neurons, where some were cut off."""
    if len(record.curve) < 2:
        return None
    series = [
        Series("accuracy", "good", tuple((p.neurons, p.accuracy) for p in record.curve)),
        Series("success of the trigger", "bad", tuple((p.neurons, p.success) for p in record.curve)),
    ]
    return draw_plot("Accuracy and success against neurons cut off", "neurons cut off", series)


def render_cleanse_html(record: CleanseRecord) -> str:
    """The report of a repair as one static page, which loads nothing and runs no script.

    Args:
        record: A whole repair, fresh or read back from its JSON.

    Returns:
        HTML, the same for the same record.
    """
    opening = Opening(
        words=OUTCOME_WORDS[record.outcome],
        colour="no-evidence" if record.outcome is Outcome.REPAIRED else "suspicious",
        about=record.fixed,
        headline=record.headline,
    )
    return render_page(
        "cleanse.html", record, opening, rows=rows_of(record), pruning=_pruning(record), stages=stages_of(record)
    )


def render_cleanse_text(record: CleanseRecord) -> str:
    """The report of a repair as text, ending without a newline."""
    words = OUTCOME_WORDS[record.outcome]
    lines = [f"{words.title.upper()}  {record.fixed}", record.headline, "", words.meaning, "", "Reasons"]
    lines += [f"  - {reason}" for reason in (*record.reasons, *record.notes)]
    lines += ["", "Before, repaired, control (95 % interval)"]
    for row in rows_of(record):
        shown = ", ".join(f"{percent(r.value)} ({interval((r.low, r.high))})" for r in row.rates)
        lines.append(f"  {row.title}: {shown}")
    lines += ["", f"Repair: {record.repair}", f"Control: {record.control}"]
    return "\n".join(map(scrub, lines))
