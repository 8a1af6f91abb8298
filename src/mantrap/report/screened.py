"""The record of a screening as a page and as text."""

from mantrap.records import ScreenedLabelRecord, ScreenRecord, Verdict
from mantrap.report.page import LONG_TABLE, Opening, colour_of, render_page, stages_of
from mantrap.report.words import VerdictWords, name_of, number, percent, scrub

SCREEN_WORDS: dict[Verdict, VerdictWords] = {
    Verdict.SUSPICIOUS: VerdictWords(
        "Suspicious",
        "Some images of this training set do not behave like the others of their label. Look at them: poison looks "
        "like this, and so do wrong labels and a class that has two kinds of images. Train again without them before "
        "you use the model.",
    ),
    Verdict.NO_EVIDENCE: VerdictWords(
        "No evidence found",
        "No screen that was asked takes an image for poison. That does not prove that the set is clean: each of them "
        "looks for one kind of poison, and what a model has hardly learned leaves no traces in it.",
    ),
}
_LISTED = 10
"""Images that the text names."""


def suspected_first(record: ScreenRecord) -> list[ScreenedLabelRecord]:
    """The labels, those with the largest share of flagged images first."""
    return sorted(record.labels, key=lambda label: (-label.flagged / label.images, label.label))


def render_screen_html(record: ScreenRecord) -> str:
    """The report of a screening as one static page, which loads nothing and runs no script.

    Args:
        record: A whole screening, fresh or read back from its JSON.

    Returns:
        HTML, the same for the same record.
    """
    opening = Opening(
        words=SCREEN_WORDS[record.verdict],
        colour=colour_of(record.verdict),
        about=record.data.name,
        headline=record.headline,
    )
    return render_page("screen.html", record, opening, labels=suspected_first(record), stages=stages_of(record))


def render_screen_text(record: ScreenRecord) -> str:
    """The report of a screening as text, ending without a newline."""
    words = SCREEN_WORDS[record.verdict]
    lines = [f"{words.title.upper()}  {record.data.name}", record.headline, "", words.meaning, "", "Screens"]
    lines += [f"  - {reason}" for reason in record.reasons]
    flagged = [label for label in suspected_first(record) if label.flagged]
    if flagged:
        lines += ["", "Flagged by label"]
    for label in flagged[:LONG_TABLE]:
        share = percent(label.flagged / label.images)
        name = name_of(label.label, label.class_name)
        lines.append(f"  {name}: {label.flagged:,} of {label.images:,} ({share})")
    lines += ["", "Most suspicious images"]
    for image in record.worst[:_LISTED]:
        scores = ", ".join(f"{screen} {number(score)}" for screen, score in image.scores.items())
        mark = "flagged" if image.accusers else "not flagged"
        lines.append(f"  {image.index} ({name_of(image.label, image.class_name)}): {mark}; {scores}")
    return "\n".join(map(scrub, lines))
