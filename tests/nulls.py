"""How models without a backdoor scatter, in numbers that tests can count on; those of the package may change."""

import math
from contextlib import contextmanager

import pytest

from mantrap.records import Null, Nulls, Scatter, ShiftScatter
from mantrap.records.traits import TRAITS, Trait
from mantrap.workflow import comparing

SPREAD, BETWEEN, FREEDOM, SURE = 0.4, 0.4, 8.0, 1000
SHIFTS = (
    ShiftScatter(fewest=2, most=5, centre=0.1, between=0.05, models=SURE, shifts=4),
    ShiftScatter(fewest=6, most=100, centre=0.05, between=0.025, models=SURE, shifts=4),
)
"""Of 2 to 5 classes the likeliest shift is 10 % likely, give or take 5; of 6 to 100 5 %, give or take 2.5."""


def value_of(trait: Trait, height: float) -> float:
    """The value by which a label stands so high."""
    signed = -height if trait.low else height
    if trait.share:
        return 1 / (1 + math.exp(-signed))
    return math.exp(signed) if trait.ratio else signed


def null_of(*traits, together=0.0, centre=2.6, **changes):
    """A null of these traits, or of all: each label's height is about 2.6, give or take 0.4 in a model and between."""
    scatters = tuple(
        Scatter(
            **{
                "trait": name,
                "spread": SPREAD,
                "freedom": FREEDOM,
                "centre": centre,
                "between": BETWEEN if TRAITS[name].level else None,
                "models": SURE,
                "labels": 10 * SURE,
            }
            | changes
        )
        for name in traits or TRAITS
    )
    rows = tuple(tuple(4.0 if a is b else together for b in scatters) for a in scatters)
    return Null(arch="", scatters=scatters, together=rows, learned_from="numbers that tests can count on")


@contextmanager
def steady():
    """Inside, audits judge by these numbers and not by the package's own."""
    known = Nulls(nulls=(null_of(together=2.0),), shifts=SHIFTS)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(comparing, "known_nulls", lambda: known)
        yield
