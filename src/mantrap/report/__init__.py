"""Records as pages and text. Pure functions that never reach torch, so that a saved audit renders anywhere."""

from mantrap.report.audited import render_fragment, render_html
from mantrap.report.cleansed import render_cleanse_html, render_cleanse_text
from mantrap.report.compared import render_compared_html, render_compared_text
from mantrap.report.console import render_text
from mantrap.report.evaded import render_evade_html, render_evade_text
from mantrap.report.forms import FORMS, render
from mantrap.report.grid_table import render_grid_csv
from mantrap.report.gridded import render_grid_html, render_grid_text
from mantrap.report.guarded import render_filter_text, render_guard_html, render_guard_text
from mantrap.report.made import render_card_text, render_implant_text
from mantrap.report.measured import render_measure_html, render_measure_text
from mantrap.report.screened import render_screen_html, render_screen_text
from mantrap.report.transferred import render_transfer_html, render_transfer_text

__all__ = [
    "FORMS",
    "render",
    "render_card_text",
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
    "render_implant_text",
    "render_measure_html",
    "render_measure_text",
    "render_screen_html",
    "render_screen_text",
    "render_text",
    "render_transfer_html",
    "render_transfer_text",
]
