"""Which recovered triggers are ordinary: those that models without a backdoor have as well, and that prove nothing."""

from collections.abc import Sequence
from typing import Final

from mantrap.core import ReversedPatch, ReversedPerturbation, ReversedTrigger, ReversedWarp
from mantrap.records import AuditRecord
from mantrap.records.traits import PATCH, PERTURBATION, WARP
from mantrap.workflow.verdict import CHANCE_BELOW, TRIGGER_BELOW

_TRAITS: Final = {ReversedPatch: PATCH, ReversedPerturbation: PERTURBATION, ReversedWarp: WARP}


def without_ordinary(
    triggers: Sequence[ReversedTrigger], audited: AuditRecord
) -> tuple[tuple[ReversedTrigger, ...], tuple[tuple[ReversedTrigger, float], ...]]:
    """The triggers to deal with, and ordinary ones beside a finding.

    What a verdict asks of a label is asked of each of its triggers alone: that some label of a model without a backdoor
    needs as little with a chance below 10 % is no ordinary thing, and below 2 % it is a finding. An ordinary trigger is
    left out beside a finding for the same label. Where there is none, all that a label has stay: something has accused
    it, and nobody knows which of them is the backdoor. So do those of which nothing is known, and those of a label to
    which a pair of classes stands out: the patch for these is measured in another way.

    Args:
        triggers: What an audit recovered.
        audited: Its record.

    Returns:
        Those that stay, and those that are left out, each with the chance that some label of a model without a backdoor
        needs as little; both in their order.
    """
    chances = {trigger: _chance(trigger, audited) for trigger in triggers}
    found = {t.target for t, chance in chances.items() if chance is not None and chance < CHANCE_BELOW}
    if audited.pair is not None and audited.pair.noticed:
        found.discard(audited.pair.to)
    left_out = tuple(
        (trigger, chance)
        for trigger, chance in chances.items()
        if chance is not None and chance >= TRIGGER_BELOW and trigger.target in found
    )
    ordinary = {trigger for trigger, _ in left_out}
    return tuple(trigger for trigger in triggers if trigger not in ordinary), left_out


def _chance(trigger: ReversedTrigger, audited: AuditRecord) -> float | None:
    """The chance that some label of a model without a backdoor needs as little; ``None`` where nobody knows."""
    trait = _TRAITS[type(trigger)].name
    of_label = [
        entry.chance
        for detection in audited.detections
        for entry in detection.traits
        if (entry.trait, entry.label) == (trait, trigger.target) and entry.chance is not None
    ]
    if not of_label or audited.comparison is None:
        return None
    return 1 - (1 - min(of_label)) ** len(audited.comparison.standings)
