"""The labels of a record are those of the detector that has most to say of them."""

import pytest

from mantrap.core import Cost, Detection, LabelFinding
from mantrap.workflow.assembly import most_labels
from mantrap.workflow.norms import judge_labels
from tests import stage


def detection(name, norms):
    found = tuple(LabelFinding(label, norm, 1, "last step") for label, norm in norms.items())
    return Detection(name, stage.CLASSES, found, (), (), None, {}, Cost())


FEW, MANY = {0: 1.0, 3: 2.0}, {0: 5.0, 1: 6.0, 3: 7.0}
NOBODY = detection("none", {})


def labels_of(*detections):
    judged = [judge_labels(one) for one in detections]
    return [(entry.label, entry.norm) for entry in most_labels(stage.model(planted=True), detections, judged)]


@pytest.mark.parametrize("order", [1, -1])
def test_they_are_those_of_whoever_searched_most_labels(order):
    searched = (detection("few", FEW), NOBODY, detection("many", MANY))
    assert labels_of(*searched[::order]) == list(MANY.items())


def test_of_equally_many_they_are_those_of_the_first():
    other = {label: norm + 1 for label, norm in MANY.items()}
    assert labels_of(detection("few", FEW), detection("one", MANY), detection("other", other)) == list(MANY.items())


def test_where_nobody_searched_labels_there_are_none():
    assert labels_of(NOBODY, NOBODY) == []
