"""In what two audits or two grids differ, as a page and as text."""

from dataclasses import dataclass
from itertools import groupby

from mantrap.records import ChangeRecord, ComparedRecord
from mantrap.report.grid_columns import points
from mantrap.report.page import Opening, render_page
from mantrap.report.words import VerdictWords, clip, scrub

_SHOWN = 60
"""Characters of a value that a line of text shows."""


@dataclass(frozen=True)
class Subject:
    """Something that both runs looked at, and all that differs about it."""

    about: str
    changes: tuple[ChangeRecord, ...]


def subjects_of(record: ComparedRecord) -> list[Subject]:
    """All that differs, by what it is about."""
    return [Subject(about, tuple(some)) for about, some in groupby(record.changes, lambda change: change.about)]


def apart(change: ChangeRecord) -> str:
    """How far two shares are apart, in points, or two areas; empty where they are neither."""
    if change.difference is None:
        return ""
    if change.low is None or change.high is None:
        return f"{change.difference:+.3f}".replace("-", "\N{MINUS SIGN}")
    return f"{points(change.difference)} points ({points(change.low)} to {points(change.high)})"


def _words(record: ComparedRecord) -> VerdictWords:
    return VerdictWords("The same findings" if record.findings_same else "Different findings", "")


def render_compared_html(record: ComparedRecord) -> str:
    """A comparison as one static page, which loads nothing and runs no script.

    Args:
        record: Fresh or read back from its JSON.

    Returns:
        HTML, the same for the same record.
    """
    opening = Opening(
        words=_words(record),
        colour="no-evidence" if record.findings_same else "inconclusive",
        about=f"{record.first} and {record.second}",
        headline=record.headline,
    )
    return render_page("compared.html", record, opening, subjects=subjects_of(record), apart=apart)


def render_compared_text(record: ComparedRecord) -> str:
    """A comparison as text, ending without a newline."""
    lines = [f"{_words(record).title.upper()}  {record.first}  {record.second}", record.headline, "", "Began with"]
    same = [one.what for one in record.settings if one.same]
    lines += [f"  same: {', '.join(same)}"] if same else []
    for setting in record.settings:
        if not setting.same:
            lines += [
                f"  another {setting.what}:",
                f"    {clip(setting.first, 200)}",
                f"    {clip(setting.second, 200)}",
            ]
    for subject in subjects_of(record):
        lines += ["", subject.about, *map(_line, subject.changes)]
    for names, which in ((record.only_first, record.first), (record.only_second, record.second)):
        lines += ["", f"Only in {which}", *(f"  {name}" for name in names)] if names else []
    return "\n".join(scrub(line) if line.strip() else "" for line in lines)


def _line(change: ChangeRecord) -> str:
    first, second = (clip(value, _SHOWN) or "nothing" for value in (change.first, change.second))
    told = apart(change)
    return f"  {change.what}: {first} -> {second}" + (f", {told}" if told else "")
