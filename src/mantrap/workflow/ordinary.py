"""Which recovered triggers are ordinary: those that models without a backdoor have as well, and that prove nothing."""

from collections.abc import Sequence
from typing import Final

from mantrap.core import ReversedPatch, ReversedPerturbation, ReversedTrigger, ReversedWarp
from mantrap.records import AuditRecord
from mantrap.records.traits import PATCH, PERTURBATION, WARP
from mantrap.workflow.verdict import TRIGGER_BELOW

_TRAITS: Final = {ReversedPatch: PATCH, ReversedPerturbation: PERTURBATION, ReversedWarp: WARP}


def without_ordinary(
    triggers: Sequence[ReversedTrigger], audited: AuditRecord
) -> tuple[tuple[ReversedTrigger, ...], tuple[tuple[ReversedTrigger, float], ...]]:
    """The triggers that are evidence, and the others.

    A verdict asks of a label's triggers together that fewer than one model without a backdoor in ten has a label that
    needs as little. Here each is asked that alone. Where that leaves a label none, all that it has stay: something
    has accused it, and nobody knows which of them is the backdoor. So do those of which nothing is known, and those of
    a label to which a pair of classes stands out: the patch for these is measured in another way.

    Args:
        triggers: What an audit recovered.
        audited: Its record.

    Returns:
        Those that stay, and those that are left out, each with the chance that some label of a model without a backdoor
        needs as little; both in their order.
    """
    chances = {trigger: _chance(trigger, audited) for trigger in triggers}
    evident = {t.target for t, chance in chances.items() if chance is not None and chance < TRIGGER_BELOW}
    if audited.pair is not None and audited.pair.noticed:
        evident.discard(audited.pair.to)
    left_out = tuple(
        (trigger, chance)
        for trigger, chance in chances.items()
        if chance is not None and chance >= TRIGGER_BELOW and trigger.target in evident
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
