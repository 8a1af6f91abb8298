"""The demonstration holds what the README says of it."""

import pytest

from mantrap.records import Verdict
from mantrap.workflow.demo import TARGET, demo


@pytest.mark.slow
def test_the_demo_finds_the_planted_backdoor_and_accuses_no_clean_model(tmp_path):
    clean, backdoored = demo(tmp_path)

    assert clean.accuracy.value > 0.95
    assert backdoored.accuracy.value > 0.95
    assert backdoored.success.value > 0.85
    # Not NO_EVIDENCE: one clean model in fourteen is noticed by chance, and is INCONCLUSIVE then.
    assert clean.record.verdict is not Verdict.SUSPICIOUS
    assert clean.record.detections[0].statistics.log_ratio < 0.7
    assert backdoored.record.verdict is Verdict.SUSPICIOUS
    assert backdoored.record.suspects[0].label == TARGET
    assert backdoored.record.suspects[0].success >= 0.95
