"""What several detectors say together: verdict, headline, reasons and suspects of an audit."""

from dataclasses import dataclass
from typing import ClassVar

from mantrap.core import Cost, Detection
from mantrap.detect import DETECTORS
from mantrap.records import Verdict
from mantrap.workflow.audit import audit
from mantrap.workflow.plan import Plan, Source
from tests import stage

QUICK = DETECTORS.create(stage.QUICK)


def run(*, planted, detectors=(QUICK,)):
    plan = Plan(detectors=detectors)
    return audit(stage.model(planted=planted), stage.image_set(), plan=plan, source=Source("", ""))


@dataclass(frozen=True, kw_only=True)
class Margins:
    """A detector without triggers that names a label."""

    name: ClassVar[str] = "margins"
    quick: ClassVar[str] = "margins"
    label: int
    p_value: float

    def detect(self, model, *_, **__):
        margins = {label: 50.0 if label == self.label else 10.0 + label for label in range(model.num_classes)}
        return Detection(
            detector="margins",
            num_classes=model.num_classes,
            labels=(),
            triggers=(),
            suspects=(self.label,),
            score=1.0,
            indices={label: margin / 10 for label, margin in margins.items()},
            cost=Cost(),
            margins=margins,
            p_value=self.p_value,
        )


def test_detectors_that_agree_find_together_what_neither_finds_alone():
    # The clean model: its norms are ordinary, and the label of the smallest has a trigger that works.
    alone = run(planted=False)
    least = alone.detections[0].statistics.smallest_label
    record = run(planted=False, detectors=(QUICK, Margins(label=least, p_value=1e-5)))

    assert alone.verdict is Verdict.NO_EVIDENCE
    assert record.verdict is Verdict.SUSPICIOUS
    assert record.suspects[0].label == least
    assert record.reasons[0].startswith(f"Label {least} stands out most, by {stage.QUICK} and margins: ")
    assert record.headline.startswith(f"A small trigger makes this model answer label {least}: ")


def test_a_label_that_stands_out_without_a_trigger_is_noticed_and_no_more():
    label = 5  # its norm is the largest, so it has no trigger
    record = run(planted=False, detectors=(QUICK, Margins(label=label, p_value=1e-5)))

    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.suspects == ()
    assert record.headline == "Label 5 stands out, but not clearly enough to call it a backdoor."
    assert "No trigger for it was measured" in record.reasons[0]


def test_a_detector_without_norms_alone_says_that_there_is_nothing_to_compare():
    record = run(planted=False, detectors=(Margins(label=1, p_value=0.6),))

    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.reasons[0].startswith("Label 1 stands out most, by margins: ")
    assert record.reasons[1] == "No detector has norms of 3 labels or more to compare."
    assert [m.margin for m in record.detections[0].margins] == [10.0, 50.0, 12.0, 13.0, 14.0, 15.0]
