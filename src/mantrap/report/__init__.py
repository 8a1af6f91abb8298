"""Records as pages and text. Pure functions that never reach torch, so that a saved audit renders anywhere."""

from collections.abc import Callable

from mantrap.records import AuditRecord, CleanseRecord, GridRecord, GuardRecord, ScreenRecord
from mantrap.report.cleansed import render_cleanse_html, render_cleanse_text
from mantrap.report.compared import render_compared_html, render_compared_text
from mantrap.report.console import render_text
from mantrap.report.evaded import render_evade_html, render_evade_text
from mantrap.report.grid_table import render_grid_csv
from mantrap.report.gridded import render_grid_html, render_grid_text
from mantrap.report.guarded import render_filter_text, render_guard_html, render_guard_text
from mantrap.report.measured import likeness_lines, render_measure_html
from mantrap.report.page import render_fragment, render_html
from mantrap.report.screened import render_screen_html, render_screen_text

RENDERERS: dict[str, Callable[[AuditRecord], str]] = {
    "html": render_html,
    "json": AuditRecord.to_json,
    "text": render_text,
}
"""Every form of an audit's report, by the name of its format."""
CLEANSE_RENDERERS: dict[str, Callable[[CleanseRecord], str]] = {
    "html": render_cleanse_html,
    "json": CleanseRecord.to_json,
    "text": render_cleanse_text,
}
"""The same of a repair's."""
GUARD_RENDERERS: dict[str, Callable[[GuardRecord], str]] = {
    "html": render_guard_html,
    "json": GuardRecord.to_json,
    "text": render_guard_text,
}
"""The same of a guard's."""
SCREEN_RENDERERS: dict[str, Callable[[ScreenRecord], str]] = {
    "html": render_screen_html,
    "json": ScreenRecord.to_json,
    "text": render_screen_text,
}
"""The same of a screening's."""
GRID_RENDERERS: dict[str, Callable[[GridRecord], str]] = {
    "html": render_grid_html,
    "json": GridRecord.to_json,
    "text": render_grid_text,
    "csv": render_grid_csv,
}
"""The same of a grid's, which is a table as well."""

__all__ = [
    "CLEANSE_RENDERERS",
    "GRID_RENDERERS",
    "GUARD_RENDERERS",
    "RENDERERS",
    "SCREEN_RENDERERS",
    "likeness_lines",
    "render_cleanse_html",
    "render_cleanse_text",
    "render_compared_html",
    "render_compared_text",
    "render_evade_html",
    "render_evade_text",
    "render_filter_text",
    "render_fragment",
    "render_grid_csv",
    "render_grid_html",
    "render_grid_text",
    "render_guard_html",
    "render_guard_text",
    "render_html",
    "render_measure_html",
    "render_screen_html",
    "render_screen_text",
    "render_text",
]
