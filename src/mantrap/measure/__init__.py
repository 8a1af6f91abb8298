"""Compare with the truth; nothing below may."""

from mantrap.measure.success import attack_success

__all__ = ["attack_success"]
