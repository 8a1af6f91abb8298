"""Every kind of record that has a report, and the forms in which it comes."""

from collections.abc import Callable
from typing import Any

from mantrap.errors import UsageError
from mantrap.records import (
    AuditRecord,
    CleanseRecord,
    ComparedRecord,
    EvadeRecord,
    FilterRecord,
    GridRecord,
    GuardRecord,
    ImplantRecord,
    MeasureRecord,
    ModelCard,
    Record,
    ScreenRecord,
    TransferRecord,
)
from mantrap.report.audited import render_html
from mantrap.report.cleansed import render_cleanse_html, render_cleanse_text
from mantrap.report.compared import render_compared_html, render_compared_text
from mantrap.report.console import render_text
from mantrap.report.evaded import render_evade_html, render_evade_text
from mantrap.report.grid_table import render_grid_csv
from mantrap.report.gridded import render_grid_html, render_grid_text
from mantrap.report.guarded import render_filter_text, render_guard_html, render_guard_text
from mantrap.report.made import render_card_text, render_implant_text
from mantrap.report.measured import render_measure_html, render_measure_text
from mantrap.report.screened import render_screen_html, render_screen_text
from mantrap.report.transferred import render_transfer_html, render_transfer_text

FORMS: dict[type[Record], dict[str, Callable[[Any], str]]] = {
    AuditRecord: {"text": render_text, "html": render_html},
    CleanseRecord: {"text": render_cleanse_text, "html": render_cleanse_html},
    GuardRecord: {"text": render_guard_text, "html": render_guard_html},
    FilterRecord: {"text": render_filter_text},
    ScreenRecord: {"text": render_screen_text, "html": render_screen_html},
    EvadeRecord: {"text": render_evade_text, "html": render_evade_html},
    TransferRecord: {"text": render_transfer_text, "html": render_transfer_html},
    GridRecord: {"text": render_grid_text, "html": render_grid_html, "csv": render_grid_csv},
    ComparedRecord: {"text": render_compared_text, "html": render_compared_html},
    MeasureRecord: {"text": render_measure_text, "html": render_measure_html},
    ImplantRecord: {"text": render_implant_text},
    ModelCard: {"text": render_card_text},
}
"""What makes each form of a report, by the class of the record and the name of the format; JSON has every record."""


def render(record: Record, form: str) -> str:
    """The report of a record.

    Args:
        record: Of a kind in :data:`FORMS`, fresh or read back from its JSON.
        form: ``"text"``, ``"json"``, and of most kinds ``"html"``; of a grid ``"csv"`` as well.

    Returns:
        The same for the same record.

    Raises:
        UsageError: There is no such form of it.
    """
    made = {**FORMS.get(type(record), {}), "json": type(record).to_json}
    if form not in made:
        raise UsageError(
            expected=f"{' or '.join(made)} of a record of the kind {record.kind_name()}",
            got=form,
            remedy="Choose another format.",
        )
    return made[form](record)
