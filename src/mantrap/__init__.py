"""mantrap finds out whether an image classifier that somebody else trained carries a backdoor, and shows the trigger.

``import mantrap`` costs milliseconds; torch is imported when something is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mantrap.core import Classifier as Classifier
    from mantrap.core import ImageSet as ImageSet
    from mantrap.core import Rng as Rng
    from mantrap.data import load as load
    from mantrap.detect import NeuralCleanse as NeuralCleanse
    from mantrap.models import open_model as open_model
    from mantrap.records import AuditRecord as AuditRecord
    from mantrap.records import Verdict as Verdict
    from mantrap.report import render_html as render_html
    from mantrap.workflow.api import audit as audit

__version__ = "0.1.0"

_WHERE = {
    "AuditRecord": "mantrap.records",
    "Classifier": "mantrap.core",
    "ImageSet": "mantrap.core",
    "NeuralCleanse": "mantrap.detect",
    "Rng": "mantrap.core",
    "Verdict": "mantrap.records",
    "audit": "mantrap.workflow.api",
    "load": "mantrap.data",
    "open_model": "mantrap.models",
    "render_html": "mantrap.report",
}

__all__ = [  # noqa: PLE0604 - each name is in _WHERE, which a test compares with the imports above
    "__version__",
    *_WHERE,
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _give_records_a_view()
    value = getattr(importlib.import_module(_WHERE[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _give_records_a_view() -> None:
    """Tell records how a notebook shows them; only the front door may know both rooms."""
    records = importlib.import_module("mantrap.records")
    records.AuditRecord.notebook_view = staticmethod(_view)


def _view(record: Any) -> str:
    text: str = importlib.import_module("mantrap.report").render_fragment(record)
    return text
