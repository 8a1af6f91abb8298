"""The silent observer, the memo that keeps nothing, and results."""

import pytest
import torch

from mantrap.core import FORGETFUL, SILENT, Cost, Detection, Memo, Progress, ReversedTrigger, Stage


def trigger(target: int, *, censored: bool = False) -> ReversedTrigger:
    return ReversedTrigger(target, torch.full((2, 3), 0.5), torch.zeros(1, 2, 3), censored, 7, "last step")


def test_silence_is_an_observer_and_says_nothing(capfd):
    assert isinstance(SILENT, Progress)
    with SILENT.stage("work", 3) as stage:
        assert isinstance(stage, Stage)
        stage.advance()
        stage.advance(0.5, "half")

    assert capfd.readouterr() == ("", "")


def test_silence_lets_errors_pass():
    with pytest.raises(ZeroDivisionError), SILENT.stage("work", 1):
        _ = 1 // 0


def test_the_forgetful_memo_keeps_nothing():
    FORGETFUL.save("key", {"a": torch.zeros(1)})

    assert isinstance(FORGETFUL, Memo)
    assert FORGETFUL.load("key") is None


def test_a_norm_is_the_sum_of_the_mask_and_a_censored_label_has_none():
    assert trigger(0).norm == 3.0
    assert trigger(0, censored=True).norm is None


def test_costs_add_up():
    assert Cost(3, 1) + Cost(4) == Cost(7, 1)


def test_a_detection_finds_the_trigger_of_a_label_that_was_scanned():
    detection = Detection("d", 9, (trigger(4), trigger(2)), (), None, {}, Cost())

    assert detection.trigger_for(2) is detection.triggers[1]
    assert detection.trigger_for(3) is None
