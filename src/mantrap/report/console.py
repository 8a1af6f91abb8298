"""A record as plain text: what a terminal shows after an audit."""

import io

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mantrap.records import AuditRecord, CheckStatus, DetectionRecord, SuspectRecord, Verdict
from mantrap.records.traits import TRAITS
from mantrap.report.rows import findings, trait_rows, traits_of
from mantrap.report.words import (
    PROVISIONAL,
    VERDICT_WORDS,
    chance,
    interval,
    name_of,
    natural,
    number,
    paper_verdict,
    percent,
    ratio_of,
    scrub,
    smallest_of,
    washed_out,
)

WIDTH = 100
"""Columns; nothing is wider."""
SMALLEST = 10
"""Rows of the table of norms."""
_FEW = 5
"""Rows of the table of all detectors together."""
_NAME = 40
"""Columns of a name in the table; characters of one in a sentence."""

_STYLES = {
    Verdict.SUSPICIOUS: "bold red",
    Verdict.INCONCLUSIVE: "bold yellow",
    Verdict.NO_EVIDENCE: "bold blue",
    Verdict.REFUSED: "bold magenta",
}


def render_text(record: AuditRecord, *, colour: bool = False) -> str:
    """The report as text of at most 100 columns.

    Args:
        record: A whole audit.
        colour: Mark verdict and suspects with ANSI colours. Names stay free of control characters either way.

    Returns:
        Lines, ending in a newline; the same for the same record, whatever the terminal or the environment.
    """
    buffer = io.StringIO()
    console = Console(
        file=buffer,
        width=WIDTH,
        color_system="standard" if colour else None,
        force_terminal=colour,
        no_color=not colour,
        force_jupyter=False,
        legacy_windows=False,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},
    )
    for part in _parts(record):
        console.print(part)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n") + "\n"


def _parts(record: AuditRecord) -> list[RenderableType]:
    words = VERDICT_WORDS[record.verdict]
    parts: list[RenderableType] = [
        Text.assemble((words.title.upper(), _STYLES[record.verdict]), "  ", scrub(record.model.file_name)),
        _line(record.headline),
        Text(),
        _line(words.meaning),
    ]
    if record.provisional:
        parts += [Text(), _line(PROVISIONAL)]
    parts += _list("Reasons", record.reasons)
    first = findings(record)
    for kind in (*first, *(other for other in _KINDS if other not in first)):
        parts += _KINDS[kind](record)
    parts += _together(record)
    for detection in record.detections:
        parts += _norms(detection, {s.label for s in record.suspects}) + _traits(detection)
    warned = [f"{c.name}: {c.message}" for c in record.checks if c.status is not CheckStatus.PASSED]
    parts += _list("Checks that did not pass", warned)
    parts += _list("What this audit could not have seen", record.blind_spots)
    return parts + _coverage(record)


def _line(text: str, indent: int = 0) -> Padding:
    return Padding(Text(scrub(text), overflow="fold"), (0, 0, 0, indent))


def _list(title: str, items: tuple[str, ...] | list[str]) -> list[RenderableType]:
    if not items:
        return []
    grid = Table.grid(padding=(0, 1))
    grid.add_column()
    grid.add_column(overflow="fold")
    for item in items:
        grid.add_row("  -", Text(scrub(item), overflow="fold"))
    return [Text(), Text(title, style="bold"), grid]


def _labels(record: AuditRecord) -> list[RenderableType]:
    return [part for suspect in record.suspects for part in _suspect(suspect)]


def _suspect(suspect: SuspectRecord) -> list[RenderableType]:
    index = "none" if suspect.index is None else f"{suspect.index:+z.2f}"
    share = f"{percent(suspect.success)} of {suspect.heldout:,} held-out images of other classes go there"
    moved = f"mirrored or upside down it works on {percent(suspect.elsewhere.value)} of images"
    flagged = "flagged" if suspect.flagged_by_paper else "not flagged"
    facts = (
        f"{share} (95 % interval {interval(suspect.success_interval)})",
        f"{suspect.size}, anomaly index {index}, {flagged} by the paper's own rule",
        f"{moved}, shuffled and twice as strong on {percent(suspect.shuffled.value)}",
        natural(suspect),
        *filter(None, (washed_out(suspect),)),
        f"found by {suspect.detector}",
    )
    title = Text.assemble(("Suspect: label ", "bold"), (name_of(suspect.label, suspect.class_name, _NAME), "bold red"))
    return [Text(), title, *(_line(fact, 2) for fact in facts)]


def _shift(record: AuditRecord) -> list[RenderableType]:
    shift = record.shift
    if shift is None:
        return []
    title = "Suspect: every class to another one" if shift.noticed else "Every class to another one"
    ends = interval((shift.success.low, shift.success.high))
    seldom = "" if shift.chance is None else percent(shift.chance)
    chance_of = f" (chance of that without a backdoor: {seldom})" if seldom else ""
    facts = [
        f"to {shift.to}: {percent(shift.likely)} likely{chance_of}",
        f"{shift.size} does it to {percent(shift.success.value)} of held-out images (95 % interval {ends})",
        f"found by {shift.detector}",
    ]
    return [Text(), Text(title, style="bold"), *(_line(fact, 2) for fact in facts)]


def _pair(record: AuditRecord) -> list[RenderableType]:
    pair = record.pair
    if pair is None:
        return []
    title = "Suspect: one class for another" if pair.noticed else "One class for another"
    source, target = name_of(pair.label, pair.class_name, _NAME), name_of(pair.to, pair.to_name, _NAME)
    how = f"by a patch {pair.easier:.1f} times smaller than a copy of the model leads to expect"
    facts = [f"{source} is taken for {target} {how} (chance of that without a backdoor: {percent(pair.chance)})"]
    if pair.success is not None:
        others = "" if pair.others is None else f", and {percent(pair.others.value)} of those of other classes"
        ends = interval((pair.success.low, pair.success.high))
        share = f"{percent(pair.success.value)} of held-out images of that class (95 % interval {ends}){others}"
        facts.append(f"{pair.size} does it to {share}")
    facts.append(f"found by {pair.detector}, of {pair.compared:,} pairs")
    return [Text(), Text(title, style="bold"), *(_line(fact, 2) for fact in facts)]


_KINDS = {"labels": _labels, "shift": _shift, "pair": _pair}
"""What shows each kind of finding."""


def _coverage(record: AuditRecord) -> list[RenderableType]:
    if record.coverage is None:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    table.add_column("  models with", no_wrap=True)
    for heading in ("models", "found", "interval", "noticed"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in record.coverage.families:
        found, noticed = percent(entry.found.value), percent(entry.noticed.value)
        ends = interval((entry.found.low, entry.found.high))
        table.add_row("  " + entry.title, str(entry.found.total), found, ends, noticed)
    title = Text("What audits like this one find", style="bold")
    return [Text(), title, _line(f"measured on {record.coverage.of}", 2), table]


def _together(record: AuditRecord) -> list[RenderableType]:
    if record.comparison is None:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    table.add_column("  label", no_wrap=True, overflow="ellipsis", max_width=_NAME + 2)
    table.add_column("chance", justify="right", no_wrap=True)
    for entry in record.comparison.standings[:_FEW]:
        table.add_row(Text("  " + name_of(entry.label, entry.class_name)), percent(entry.chance))
    compared = f"compared with {record.comparison.null}"
    return [Text(), Text("All detectors together", style="bold"), _line(compared, 2), table]


def _norms(detection: DetectionRecord, suspects: set[int]) -> list[RenderableType]:
    measured = sorted((e for e in detection.labels if e.norm is not None), key=lambda e: (e.norm, e.label))
    censored = [e for e in detection.labels if e.norm is None and not e.given_up]
    if not detection.labels:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    table.add_column("  label", no_wrap=True, overflow="ellipsis", max_width=_NAME + 2)
    for heading in ("norm", "index", "success"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for entry in measured[:SMALLEST]:
        name = Text("  " + name_of(entry.label, entry.class_name))
        index = "-" if entry.index is None else f"{entry.index:+z.2f}"
        success = "-" if entry.success is None else percent(entry.success)
        mark = Text("flagged" if entry.label in detection.suspects else "")
        if entry.label in suspects:
            mark = Text("suspect", style="bold red")
        table.add_row(name, number(entry.norm or 0.0), index, success, mark)
    parts: list[RenderableType] = [Text(), Text(smallest_of(detection.labels), style="bold")]
    parts += [_line(f"{detection.detector}, norm: {detection.unit}", 2), table]
    if detection.statistics:
        summary = f"median {number(detection.statistics.median)}, {ratio_of(detection.statistics)} times the smallest"
        parts += [_line(summary, 2), _line(paper_verdict(detection.statistics, detection.labels), 2)]
    said = chance(detection.p_value)
    parts += [_line(said, 2)] if said else []
    if censored:
        names = ", ".join(name_of(e.label, e.class_name, _NAME) for e in censored[:8])
        more = f" and {len(censored) - 8:,} more" if len(censored) > 8 else ""
        parts.append(_line(f"censored, no trigger met the success threshold: {names}{more}", 2))
    return parts + [_line(note, 2) for note in detection.notes]


def _traits(detection: DetectionRecord) -> list[RenderableType]:
    if detection.labels:
        return []
    notes = [_line(note, 2) for note in detection.notes]
    if not detection.traits:
        return [Text(), _line(detection.detector, 2), *notes] if notes else []
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="")
    table.add_column("  label", no_wrap=True, overflow="ellipsis", max_width=_NAME + 2)
    for trait in traits_of(detection):
        table.add_column(
            TRAITS[trait].title.lower() if trait in TRAITS else scrub(trait), justify="right", no_wrap=True
        )
        table.add_column("chance", justify="right", no_wrap=True)
    for row in trait_rows(detection)[:SMALLEST]:
        cells = ["-" if c is None else number(c.value) for c in row.cells]
        chances = ["-" if c is None or c.chance is None else percent(c.chance) for c in row.cells]
        pairs = [text for pair in zip(cells, chances, strict=True) for text in pair]
        table.add_row(Text("  " + name_of(row.label, row.class_name)), *pairs)
    heading = Text("Labels that stand out most", style="bold")
    lines = [_line(said, 2)] if (said := chance(detection.p_value)) else []
    return [Text(), heading, _line(detection.detector, 2), table, *lines, *notes]
