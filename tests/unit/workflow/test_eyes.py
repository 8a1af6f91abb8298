"""What several traits say through one eye: each may claim its part of the false alarms, and the smallest chance counts.

How eyes are joined, and what one trait says alone, is in ``test_comparing.py``.
"""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from mantrap.ops.moderated import joined, log_chances
from mantrap.records.traits import MARGIN, PATCH, PERTURBATION, WARP
from mantrap.workflow.comparing import compare
from mantrap.workflow.eyes import Eyes
from mantrap.workflow.heights import sights_of
from tests.nulls import FREEDOM, SPREAD, null_of, value_of

ALL = null_of()
ORDINARY = (2.5, 2.9, 2.2, 2.6, 3.0, 2.4, 2.7, 2.1, 2.8, 2.6)
STANDS = {PATCH: 3.6, PERTURBATION: 3.4, WARP: 4.4, MARGIN: 3.5}
"""How high label 10 stands by each trait, among ordinary ones."""


def measured(trait, height=None):
    """What a detector says of ordinary labels and of label 10."""
    heights = [*ORDINARY, STANDS[trait] if height is None else height]
    return {trait.name: {label: value_of(trait, height) for label, height in enumerate(heights)}}


def eyes(*found):
    return Eyes(sights_of(found, ALL), ALL)


def standing(*found):
    """How label 10 stands by all of it."""
    (one,) = eyes(*found).look(range(11), [10])
    return one


def alone(trait, height=None):
    """The chance that an ordinary label stands as high by this trait."""
    heights = [*ORDINARY, STANDS[trait] if height is None else height]
    return math.exp(log_chances(heights, ALL.of(trait.name))[-1])


@pytest.mark.parametrize("trait", STANDS, ids=lambda t: t.name)
def test_one_trait_alone_claims_all_whatever_its_weight(trait):
    assert math.exp(standing(measured(trait)).log_chance) == pytest.approx(alone(trait))


@pytest.mark.parametrize(("patch", "change"), [(3.6, 3.4), (3.4, 3.6)])
def test_of_patches_and_perturbations_it_is_twice_the_smaller_chance(patch, change):
    found = standing(measured(PATCH, patch), measured(PERTURBATION, change))

    assert math.exp(found.log_chance) == pytest.approx(2 * min(alone(PATCH, patch), alone(PERTURBATION, change)))


@pytest.mark.parametrize(
    ("heights", "counts"),
    [((4.2, 3.4, 4.4), PATCH), ((3.6, 4.1, 3.4), PERTURBATION), ((2.6, 2.6, 4.4), WARP)],
    ids=lambda x: getattr(x, "name", None),
)
def test_beside_them_a_warp_claims_a_ninth_and_the_smallest_chance_for_its_part_counts(heights, counts):
    found = standing(*map(measured, (PATCH, PERTURBATION, WARP), heights))
    parts = dict(zip((PATCH, PERTURBATION, WARP), (4 / 9, 4 / 9, 1 / 9), strict=True))
    chances = {trait: alone(trait, height) / parts[trait] for trait, height in zip(parts, heights, strict=True)}

    assert min(chances, key=chances.get) is counts
    assert math.exp(found.log_chance) == pytest.approx(chances[counts])
    assert found.log_trigger == found.log_searched == found.log_chance


def test_beside_patches_alone_a_warp_claims_a_fifth():
    found = standing(measured(PATCH, 2.6), measured(WARP))

    assert math.exp(found.log_chance) == pytest.approx(5 * alone(WARP))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_who_measured_first_makes_no_difference(order):
    found = [measured(trait) for trait in (PATCH, PERTURBATION, WARP)]

    assert standing(*(found[i] for i in order)).log_chance == pytest.approx(standing(*found).log_chance)


def test_what_each_trait_says_of_the_label_is_told_as_it_is():
    found = standing(*map(measured, STANDS))

    assert {part.trait: part.chance for part in found.parts} == pytest.approx({t: alone(t) for t in STANDS})
    assert [part.trait for part in found.parts] == list(STANDS)


def test_the_weights_of_one_eye_do_not_matter_to_another():
    found = standing(*(measured(trait) for trait in (PATCH, WARP, MARGIN)))
    trigger = math.log(min(5 / 4 * alone(PATCH), 5 * alone(WARP)))

    assert found.log_trigger == pytest.approx(trigger)
    assert found.log_chance == pytest.approx(joined([trigger, math.log(alone(MARGIN))], [[4.0, 0.0], [0.0, 4.0]]))


def test_no_chance_is_above_1():
    found = eyes(*(measured(trait, 1.0) for trait in (PATCH, PERTURBATION, WARP)))

    assert all(one.log_chance <= 0 and one.log_trigger <= 0 for one in found.look(range(11)))
    assert standing(*(measured(trait, 1.0) for trait in (PATCH, PERTURBATION, WARP))).log_chance == 0


def test_a_label_of_which_the_warp_says_nothing_is_judged_by_the_others_for_their_part():
    warps = measured(WARP)
    del warps["warp"][10]
    found = standing(measured(PATCH, 4.0), measured(PERTURBATION, 2.6), warps)

    assert math.exp(found.log_chance) == pytest.approx(alone(PATCH, 4.0) * 9 / 4)
    assert [part.trait for part in found.parts] == [PATCH, PERTURBATION]


def test_only_the_proportion_of_weights_counts():
    found = [measured(trait) for trait in (PATCH, WARP)]
    plain = standing(*found)
    sights = sights_of(found, ALL)
    doubled = [dataclasses.replace(s, trait=dataclasses.replace(s.trait, weight=2 * s.trait.weight)) for s in sights]

    (again,) = Eyes(doubled, ALL).look(range(11), [10])
    assert again.log_chance == pytest.approx(plain.log_chance)


def test_a_model_without_a_backdoor_looks_suspicious_no_more_often_than_its_p_value_says():
    rng = np.random.default_rng(3)
    null, traits = null_of(between=None), (PATCH, PERTURBATION, WARP)
    found = []
    for _ in range(200):
        spreads = np.sqrt(FREEDOM * SPREAD**2 / rng.chisquare(FREEDOM, len(traits)))
        rows = [rng.normal(0.0, spread, 8).tolist() for spread in spreads]
        every = [
            {trait.name: {label: value_of(trait, height) for label, height in enumerate(row)}}
            for trait, row in zip(traits, rows, strict=True)
        ]
        found.append(compare(every, null).p_value)

    for level in (0.02, 0.07, 0.2):
        # 99.9 % of what as many honest tests would say, at most.
        assert (np.array(found) < level).sum() <= stats.binom.ppf(0.9995, 200, level)
    assert (np.array(found) < 0.3).mean() > 0.08
