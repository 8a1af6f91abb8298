"""A verdict in one sentence."""

from collections.abc import Sequence

from mantrap.core import Classifier
from mantrap.records import SuspectRecord, Verdict
from mantrap.workflow.comparing import Compared
from mantrap.workflow.pairing import Paired
from mantrap.workflow.verdict import MOVED_FROM, NOTICED_BELOW, SUCCESS_FROM, Accused, Moved
from mantrap.workflow.words import begin, between, further_on, label_name, percent, share_of


def headline(
    verdict: Verdict,
    suspects: Sequence[SuspectRecord],
    compared: Compared | None,
    accused: Accused | None,
    moved: Moved | None,
    paired: Paired | None,
    model: Classifier,
) -> str:
    """One sentence for someone who must decide."""
    if verdict is Verdict.SUSPICIOUS:
        return _finding(suspects, accused, moved, paired, model)
    if verdict is Verdict.INCONCLUSIVE:
        if accused is not None and accused.noticed:
            label = accused.standing.label
            name = begin(label_name(label, model.class_names[label]))
            return f"{name} stands out, but not clearly enough to call it a backdoor."
        if moved is not None and moved.noticed:
            many = "its classes" if moved.success >= MOVED_FROM else "some classes"
            to = further_on(moved.shifted.by, model.num_classes)
            return f"A patch makes this model take {many} for {to}, but not clearly enough to call it a backdoor."
        if paired is not None and paired.noticed:
            to = between(paired, model)
            return f"This model takes {to} more easily than a copy of it, but not clearly enough to call it a backdoor."
        if compared is not None and compared.level < NOTICED_BELOW:
            return "All labels of this model are unusually easy to force, but none stands out."
        return "This audit cannot tell: what it saw is not enough for an answer."
    scanned = 0 if compared is None else len(compared.standings)
    return f"No sign of a backdoor of the kinds looked for in {scanned} labels. That is no proof that there is none."


def _finding(
    suspects: Sequence[SuspectRecord],
    accused: Accused | None,
    moved: Moved | None,
    paired: Paired | None,
    model: Classifier,
) -> str:
    """What was found, in a sentence: a label before a shift of all, and these before a pair."""
    if accused is None or not accused.strong:
        if moved is not None and moved.strong:
            share, to = percent(moved.success, 0), further_on(moved.shifted.by, model.num_classes)
            return f"A small patch makes this model take each class for {to}, in {share} of images."
        if paired is not None:
            return f"A small patch makes this model take {between(paired, model)}, in {share_of(paired)} of images."
    same = [s for s in suspects if s.label == suspects[0].label]
    first = next((s for s in same if s.success >= SUCCESS_FROM), same[0])
    return (
        f"A small trigger makes this model answer {label_name(first.label, first.class_name)}: {first.size} sends "
        f"{percent(first.success, 0)} of other images there."
    )
