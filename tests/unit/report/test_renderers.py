import subprocess
import sys

from mantrap.records import AuditRecord
from mantrap.report import RENDERERS


def test_every_format_renders_every_record_the_same_twice(every):
    assert set(RENDERERS) == {"html", "json", "text"}
    for render in RENDERERS.values():
        for record in every.values():
            assert render(record) == render(record)


def test_json_comes_back_equal(every):
    for record in every.values():
        assert AuditRecord.from_json(RENDERERS["json"](record)) == record


def test_a_report_needs_no_torch():
    code = "import sys, mantrap.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
