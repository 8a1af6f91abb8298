"""Records as pages and text. Pure functions that never reach torch, so that a saved audit renders anywhere."""

from collections.abc import Callable

from mantrap.records import AuditRecord
from mantrap.report.cleansed import render_cleanse_html, render_cleanse_text
from mantrap.report.console import render_text
from mantrap.report.page import render_fragment, render_html

RENDERERS: dict[str, Callable[[AuditRecord], str]] = {
    "html": render_html,
    "json": AuditRecord.to_json,
    "text": render_text,
}
"""Every form of a report, by the name of its format."""

__all__ = [
    "RENDERERS",
    "render_cleanse_html",
    "render_cleanse_text",
    "render_fragment",
    "render_html",
    "render_text",
]
