"""Compare with the truth; nothing below may."""

from mantrap.measure.success import attack_success, measure_attack, trigger_of

__all__ = ["attack_success", "measure_attack", "trigger_of"]
