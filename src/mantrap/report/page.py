"""A record as HTML: a whole page that needs nothing but itself, and a fragment for notebooks."""

import base64
import functools
import hashlib
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jinja2

from mantrap.records import (
    AuditRecord,
    DetectionRecord,
    LabelRecord,
    NormStatistics,
    Record,
    StageCost,
    Verdict,
    Volatile,
)
from mantrap.records.traits import TRAITS
from mantrap.report.chart import Chart, draw_norms
from mantrap.report.rows import TraitRow, findings, trait_rows, traits_of
from mantrap.report.words import (
    PROVISIONAL,
    VERDICT_WORDS,
    VerdictWords,
    chance,
    confidence,
    interval,
    looked,
    name_of,
    natural,
    number,
    paper_verdict,
    percent,
    scrub,
    signed,
    washed_out,
)

LONG_TABLE = 20
"""Tables of more rows are folded away."""


@dataclass(frozen=True)
class Panel:
    """One detector's part of the page. ``chart`` is ``None`` where it searched no label."""

    detector: str
    score: float | None
    notes: tuple[str, ...]
    labels: tuple[LabelRecord, ...]
    statistics: NormStatistics | None
    chart: Chart | None
    paper: str | None
    chance: str | None
    unit: str
    traits: tuple[str, ...]
    rows: tuple[TraitRow, ...]


@dataclass(frozen=True)
class Stage:
    """What one stage cost; ``None`` where the record does not say."""

    name: str
    forward: int | None
    backward: int | None
    cpu_seconds: float | None
    wall_seconds: float | None


@dataclass(frozen=True)
class Opening:
    """With what a page begins.

    ``about`` is what its title names beside the verdict, ``colour`` the class of its header in ``report.css``.
    """

    words: VerdictWords
    colour: str
    about: str
    headline: str


def colour_of(verdict: Verdict) -> str:
    """The colour of a verdict, as a class in the style sheets."""
    return verdict.value.lower().replace("_", "-")


def render_page(name: str, record: Record, opening: Opening, **shown: Any) -> str:
    """A whole page, which loads nothing and runs no script.

    Args:
        name: Template, which goes on from ``page.html``.
        record: What it is about.
        opening: With what it begins.
        shown: What else the template asks for.
    """
    return template(name).render(
        **vars(opening), record=record, style_hash=style_hash(), long_table=LONG_TABLE, **shown
    )


@runtime_checkable
class Costed(Protocol):
    """A record that says what it cost."""

    @property
    def cost(self) -> tuple[StageCost, ...]:
        """Images by stage."""

    @property
    def volatile(self) -> Volatile:
        """Seconds by stage, among other things."""


def style_hash() -> str:
    """The digest of a page's style sheet, for the Content-Security-Policy."""
    style = template("report.css").render()
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def render_html(record: AuditRecord) -> str:
    """The report as one static page.

    It loads nothing, runs no script, and holds its pictures itself. A Content-Security-Policy allows its own style
    sheet, by hash, and pictures in ``data:`` addresses; whatever a hostile name might smuggle in stays text.

    Args:
        record: A whole audit, fresh or read back from its JSON.

    Returns:
        HTML, the same for the same record.
    """
    opening = Opening(
        words=VERDICT_WORDS[record.verdict],
        colour=colour_of(record.verdict),
        about=record.model.file_name,
        headline=record.headline,
    )
    return render_page("report.html", record, opening, **_findings(record), stages=stages_of(record))


def render_fragment(record: AuditRecord) -> str:
    """The heart of the report, to be put into a page of somebody else's: verdict, reasons, chart and triggers.

    Its style sheet touches nothing outside it, and takes text and background colours from the page around it, so that
    it reads well in a light and in a dark notebook.

    Args:
        record: A whole audit.

    Returns:
        One ``<div>`` with its style sheet inside.
    """
    words, colour = VERDICT_WORDS[record.verdict], colour_of(record.verdict)
    return template("fragment.html").render(record=record, words=words, colour=colour, **_findings(record))


def _findings(record: AuditRecord) -> dict[str, Any]:
    return {
        "suspected": {s.label for s in record.suspects},
        "findings": findings(record),
        "provisional": PROVISIONAL if record.provisional else None,
        "panels": _panels(record),
    }


def _panels(record: AuditRecord) -> list[Panel]:
    suspects = {s.label for s in record.suspects}
    panels = [_panel(detection, suspects) for detection in record.detections if not _elsewhere(detection, record)]
    if record.labels and all(d.labels != record.labels for d in record.detections):
        # Labels that no single detector answers for, such as a joint view of several: shown first, without statistics.
        joint = DetectionRecord(
            detector="all detectors", score=None, suspects=(), labels=record.labels, statistics=None, notes=()
        )
        panels.insert(0, _panel(joint, suspects))
    return panels


def _elsewhere(detection: DetectionRecord, record: AuditRecord) -> bool:
    """Whether all that a detector has to say is about shifts or pairs of classes, which have sections of their own."""
    about_classes = detection.detector in {one.detector for one in (record.shift, record.pair) if one is not None}
    return about_classes and not (detection.labels or detection.traits or detection.notes)


def _panel(detection: DetectionRecord, suspects: set[int]) -> Panel:
    statistics = detection.statistics
    return Panel(
        detector=detection.detector,
        score=detection.score,
        notes=detection.notes,
        labels=tuple(sorted(detection.labels, key=lambda entry: entry.label)),
        statistics=statistics,
        chart=draw_norms(detection, suspects) if detection.labels else None,
        paper=paper_verdict(statistics, detection.labels) if statistics else None,
        chance=chance(detection.p_value),
        unit=detection.unit,
        traits=traits_of(detection),
        rows=() if detection.labels else trait_rows(detection),
    )


def stages_of(record: Costed) -> list[Stage]:
    """What each stage took, in images and in seconds."""
    costs = {c.stage: c for c in record.cost}
    times = {t.stage: t for t in record.volatile.stages}
    return [
        Stage(
            name,
            costs[name].forward if name in costs else None,
            costs[name].backward if name in costs else None,
            times[name].cpu_seconds if name in times else None,
            times[name].wall_seconds if name in times else None,
        )
        for name in dict.fromkeys([*costs, *times])
    ]


def template(name: str) -> jinja2.Template:
    """A template of the reports."""
    return _environment().get_template(name)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mantrap.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every value passes here before it is escaped, so no template can forget to clean a name.
        finalize=lambda value: scrub(value) if type(value) is str else value,
    )
    environment.filters.update(percent=percent, confidence=confidence, interval=interval, number=number, signed=signed)
    environment.globals.update(name_of=name_of, natural=natural, looked=looked, washed_out=washed_out, traits=TRAITS)
    return environment
