"""The record of a guard as a page and as text, and what a guard says of images as text."""

from dataclasses import dataclass

from mantrap.records import FilterRecord, GuardedTriggerRecord, GuardOutcome, GuardRecord
from mantrap.report.page import Opening, render_page, stages_of
from mantrap.report.plot import Plot, Series, draw_shares
from mantrap.report.words import VerdictWords, interval, name_of, number, percent, scrub

GUARD_WORDS: dict[GuardOutcome, VerdictWords] = {
    GuardOutcome.GUARDS: VerdictWords(
        "Guards",
        "It flags about as few clean images as was asked for, and most images with each trigger that is known. What it "
        "does with a trigger that nobody has recovered, the planted one included, was not measured: recovered triggers "
        "are not what was planted.",
    ),
    GuardOutcome.FALLS_SHORT: VerdictWords(
        "Falls short",
        "Do not rely on this guard: it lets most images with a known trigger through, or flags surely more clean "
        "images than was asked for. Try another guard, more images, or repair the model.",
    ),
    GuardOutcome.UNTRIED: VerdictWords(
        "Untried",
        "The guard is ready, but no trigger is known that it could have been tried with. How many images with a "
        "trigger it lets through cannot be told.",
    ),
}
_SHOWN = 20
"""Flagged images that are listed as text, the first ones; and rows of a curve's table."""


@dataclass(frozen=True)
class Tried:
    """A trigger that the guard was tried with, and what other thresholds would do."""

    trigger: GuardedTriggerRecord
    name: str
    plot: Plot


def render_guard_html(record: GuardRecord) -> str:
    """The report of a guard as one static page, which loads nothing and runs no script.

    Args:
        record: A whole fit, fresh or read back from its JSON.

    Returns:
        HTML, the same for the same record.
    """
    colours = {GuardOutcome.GUARDS: "no-evidence", GuardOutcome.FALLS_SHORT: "suspicious"}
    opening = Opening(
        words=GUARD_WORDS[record.outcome],
        colour=colours.get(record.outcome, "inconclusive"),
        about=record.file,
        headline=record.headline,
    )
    tried = [_tried(trigger, record) for trigger in record.triggers]
    return render_page("guard.html", record, opening, tried=tried, stages=stages_of(record), most_rows=_SHOWN)


def _tried(trigger: GuardedTriggerRecord, record: GuardRecord) -> Tried:
    name = f"{trigger.kind} for label {name_of(trigger.label, trigger.class_name)}"
    flagged, missed = record.false_positives.value, trigger.missed.value
    points = tuple((point.false_positives.value, point.false_negatives) for point in trigger.curve)
    plot = draw_shares(
        f"What is missed of images with the {name}, against what is flagged of clean ones",
        "clean images flagged",
        Series("images with the trigger that are missed", "good", points, banded=True),
        (flagged, missed),
        f"At its threshold the guard flags {percent(flagged)} of clean images and misses {percent(missed)} of those "
        "with the trigger. The table below holds the same numbers.",
    )
    return Tried(trigger, name, plot)


def render_guard_text(record: GuardRecord) -> str:
    """The report of a guard as text, ending without a newline."""
    words, false = GUARD_WORDS[record.outcome], record.false_positives
    lines = [f"{words.title.upper()}  {record.file}", record.headline, "", words.meaning, ""]
    ends, asked = interval((false.low, false.high)), percent(record.card.fpr)
    lines.append(f"Clean images flagged: {percent(false.value)} ({ends}), asked for {asked}")
    lines += map(_missed, record.triggers)
    lines += ["", *(f"  - {note}" for note in record.notes)] if record.notes else []
    lines += ["", f"Guard: {record.card.guard}, threshold {number(record.card.threshold)}"]
    return "\n".join(map(scrub, lines))


def _missed(trigger: GuardedTriggerRecord) -> str:
    missed, area = trigger.missed, trigger.area
    name = name_of(trigger.label, trigger.class_name)
    ends = interval((missed.low, missed.high))
    curve = f"area under the curve {area.value:.3f} ({area.low:.3f} to {area.high:.3f})"
    return f"Missed with the {trigger.kind} for label {name}: {percent(missed.value)} ({ends}), {curve}"


def render_filter_text(record: FilterRecord) -> str:
    """What a guard says of images, ending without a newline."""
    share = record.share
    ends, usual = interval((share.low, share.high)), percent(record.card.fpr)
    said = f"{share.hits:,} of {share.total:,} images flagged ({percent(share.value)}, 95 % interval {ends})"
    lines = [
        f"{said}; of clean images alone it would be about {usual}.",
        f"Guard: {record.card.guard}, threshold {number(record.card.threshold)}",
    ]
    lines += ["", "Flagged, the most suspicious first: number in the set, score, answer"] if record.flagged else []
    lines += [f"  {f.number}  {number(f.score)}  {name_of(f.label, f.class_name)}" for f in record.flagged[:_SHOWN]]
    more = len(record.flagged) - _SHOWN
    lines += [f"  and {more:,} more; --json lists them all"] if more > 0 else []
    return "\n".join(map(scrub, lines))
