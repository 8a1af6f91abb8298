"""The silent observer, the memo that keeps nothing, and results."""

import pytest
import torch

from mantrap.core import (
    FORGETFUL,
    SILENT,
    Cost,
    Detection,
    LabelFinding,
    Memo,
    Progress,
    ReversedPatch,
    ReversedPerturbation,
    Stage,
)


def trigger(target: int) -> ReversedPatch:
    return ReversedPatch(target, torch.full((2, 3), 0.5), torch.zeros(1, 2, 3))


def finding(label: int, norm: float | None = 3.0) -> LabelFinding:
    return LabelFinding(label, norm, 7, "last step")


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


def test_the_norm_of_a_patch_is_the_sum_of_its_mask():
    assert trigger(0).norm == 3.0


def test_the_norm_of_a_perturbation_is_its_length():
    assert ReversedPerturbation(0, torch.tensor([[[0.3, 0.0], [0.0, -0.4]]])).norm == pytest.approx(0.5)


def test_a_label_without_a_norm_is_censored():
    assert finding(0, None).censored
    assert not finding(0, 0.0).censored


def test_costs_add_up():
    assert Cost(3, 1) + Cost(4) == Cost(7, 1)


def test_a_detection_knows_what_was_scanned_and_what_was_kept():
    detection = Detection("d", 9, (finding(4), finding(2), finding(5, None)), (trigger(2),), (), None, {}, Cost())

    assert detection.finding_for(2) is detection.labels[1]
    assert detection.finding_for(3) is None
    assert detection.trigger_for(2) is detection.triggers[0]
    assert detection.trigger_for(4) is None


def test_a_detection_without_findings_has_scanned_the_labels_that_it_measured():
    traits = {"row_mean": {4: 0.1, 2: 0.2}, "row_norm": {2: 1.5, 7: 1.0}}
    detection = Detection("d", 9, (), (), (), None, {}, Cost(), traits=traits)
    assert detection.scanned == (4, 2, 7)
    searched = Detection("d", 9, (finding(3),), (), (), None, {}, Cost(), traits=traits)
    assert searched.scanned == (3,)
