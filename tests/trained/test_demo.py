"""The demonstration holds what the README says of it."""

import pytest

from mantrap.records import Verdict
from mantrap.workflow.demo import TARGET, demo


@pytest.mark.slow
def test_the_demo_finds_the_planted_backdoor_and_nothing_in_the_clean_model(tmp_path):
    clean, backdoored = demo(tmp_path)

    assert clean.accuracy.value > 0.95
    assert backdoored.accuracy.value > 0.95
    assert backdoored.success.value > 0.85
    assert clean.record.verdict is Verdict.NO_EVIDENCE
    assert backdoored.record.verdict is Verdict.SUSPICIOUS
    assert backdoored.record.suspects[0].label == TARGET
    assert backdoored.record.suspects[0].success >= 0.95
