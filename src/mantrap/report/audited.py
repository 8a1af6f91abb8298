"""The record of an audit as HTML: a whole page that needs nothing but itself, and a fragment for notebooks."""

from dataclasses import dataclass
from typing import Any

from mantrap.records import AuditRecord, DetectionRecord, LabelRecord, NormStatistics
from mantrap.report.chart import Chart, draw_norms
from mantrap.report.page import Opening, colour_of, render_page, stages_of, template
from mantrap.report.rows import TraitRow, findings, trait_rows, traits_of
from mantrap.report.words import PROVISIONAL, VERDICT_WORDS, chance, paper_verdict


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
