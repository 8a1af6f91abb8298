"""Pairs of classes whose norms are known: what source, target and a copy explain is taken away, all else stays."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mantrap.ops.pairs import FEWEST_CLASSES, FREEDOM, SPREAD, pair_standings

CLASSES = 6
PLANTED = (4, 1)


def pairs_of(classes):
    """All ordered pairs of two classes."""
    return list(itertools.permutations(range(classes), 2))


def norms_of(seed, *, classes=CLASSES, slope=0.8, noise=0.1, scale=1.0):
    """Norms and those of a copy, where source, target and copy explain all but some noise."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.normal(2.5, 0.4, classes), rng.normal(0.0, 0.4, classes)
    alike = {p: rng.normal(0.0, 0.5) for p in pairs_of(classes)}
    logs = {(s, t): rows[s] + columns[t] + slope * alike[s, t] + rng.normal(0.0, noise) for s, t in alike}
    return {p: scale * math.exp(v) for p, v in logs.items()}, {p: 20 * math.exp(v) for p, v in alike.items()}


def planted_in(norms, easier, pair=PLANTED):
    """The same, where one pair needs so many times less."""
    return {**norms, pair: norms[pair] / easier}


def row_of(pair, copied, classes=CLASSES):
    """What explains a pair."""
    return [*np.eye(classes)[pair[0]], *np.eye(classes)[pair[1]], math.log(copied[pair])]


def by_hand(norms, copied, pair, *, classes=CLASSES, freedom=FREEDOM):
    """How much easier a pair is than all others say, and the chance: least squares without it."""
    others = sorted(set(norms) - {pair})
    design = np.array([row_of(p, copied, classes) for p in others])
    logs = np.log([norms[p] for p in others])
    weights, _, rank, _ = np.linalg.lstsq(design, logs, rcond=1e-10)
    own = np.array(row_of(pair, copied, classes))
    easier = float(own @ weights - math.log(norms[pair]))
    left = len(others) - rank
    variance = float(((logs - design @ weights) ** 2).sum()) / left
    usual = (freedom * SPREAD**2 + left * variance) / (freedom + left)
    wide = math.sqrt(usual * (1 + own @ np.linalg.pinv(design.T @ design, rcond=1e-10) @ own))
    return easier, float(stats.t.logsf(easier / wide, freedom + left))


def standing_of(found, pair):
    """The one of this pair."""
    (one,) = [s for s in found if (s.source, s.target) == pair]
    return one


class TestEasier:
    def test_it_is_exactly_what_a_pair_was_made_easier_by_where_all_else_is_explained(self):
        norms, copied = norms_of(0, noise=0.0)
        first, *others = pair_standings(planted_in(norms, 5.0), copied)

        assert (first.source, first.target) == PLANTED
        assert first.easier == pytest.approx(math.log(5.0), rel=1e-9)
        assert others[0].log_chance > first.log_chance + math.log(1e3)

    def test_where_everything_is_explained_nobody_is_easier(self):
        found = pair_standings(*norms_of(0, noise=0.0))

        assert len(found) == len(pairs_of(CLASSES))
        assert all(abs(one.easier) < 1e-9 for one in found)
        assert all(one.log_chance == pytest.approx(math.log(0.5)) for one in found)

    def test_a_pair_that_is_harder_than_expected_is_last(self):
        norms, copied = norms_of(0)
        last = pair_standings(planted_in(norms, 1 / 8), copied)[-1]

        assert (last.source, last.target) == PLANTED
        assert last.easier < -1.5
        assert last.log_chance > math.log(0.999)

    @pytest.mark.parametrize("seed", range(3))
    def test_each_pair_is_compared_with_what_least_squares_without_it_says(self, seed):
        norms, copied = norms_of(seed, noise=0.3)
        found = pair_standings(norms, copied)

        assert {(one.source, one.target) for one in found} == set(pairs_of(CLASSES))
        for one in found:
            easier, log_chance = by_hand(norms, copied, (one.source, one.target))
            assert one.easier == pytest.approx(easier, rel=1e-6, abs=1e-9)
            assert one.log_chance == pytest.approx(log_chance, rel=1e-6)
        assert [one.log_chance for one in found] == sorted(one.log_chance for one in found)


class TestACopy:
    def test_explains_classes_that_are_alike(self):
        norms, copied = norms_of(1, noise=0.05)
        alike = (0, 3)
        norms, copied = planted_in(norms, 6.0**0.8, alike), planted_in(copied, 6.0, alike)
        norms = planted_in(norms, 3.0)
        found = pair_standings(norms, copied)

        assert (found[0].source, found[0].target) == PLANTED
        assert standing_of(found, alike).log_chance > math.log(0.05)
        # Without what the copy says of them they would be taken for the pair.
        assert (pair_standings(norms, dict.fromkeys(norms, 20.0))[0].source) == alike[0]

    def test_that_needs_as_small_a_patch_for_the_pair_acquits_it(self):
        norms, copied = norms_of(1, noise=0.05, slope=1.0)
        accused = pair_standings(planted_in(norms, 5.0), copied)
        acquitted = pair_standings(planted_in(norms, 5.0), planted_in(copied, 5.0))

        assert accused[0].log_chance < math.log(1e-5)
        assert standing_of(acquitted, PLANTED).log_chance > math.log(0.01)

    def test_that_is_the_same_for_all_pairs_takes_nothing_away(self):
        norms, _ = norms_of(2, slope=0.0, noise=0.0)
        (first, *_) = pair_standings(planted_in(norms, 4.0), dict.fromkeys(norms, 7.0))

        assert (first.source, first.target, first.easier) == (*PLANTED, pytest.approx(math.log(4.0)))


class TestChance:
    def test_under_noise_alone_the_smallest_of_all_is_as_seldom_small_as_it_says(self):
        count, classes = 400, 5
        smallest = []
        for seed in range(count):
            found = pair_standings(*norms_of(seed, classes=classes, noise=SPREAD))
            smallest.append(len(found) * math.exp(found[0].log_chance))
        for level in (0.05, 0.2):
            # 99.9 % of what as many honest tests would say; Bonferroni's bound is near where the chance is small.
            low, high = stats.binom.ppf([0.0005, 0.9995], count, level * (0.9 if level > 0.1 else 1.0))
            assert low <= sum(chance < level for chance in smallest) <= high

    def test_of_pairs_that_are_all_exactly_explained_the_usual_spread_still_counts(self):
        norms, copied = norms_of(3, noise=0.0)
        first = pair_standings(planted_in(norms, 1.05), copied)[0]

        assert (first.source, first.target) == PLANTED
        assert first.log_chance > math.log(0.2)

    def test_in_a_model_whose_pairs_scatter_more_the_same_pair_says_less(self):
        chances = [
            standing_of(pair_standings(planted_in(norms, 4.0), copied), PLANTED).log_chance
            for norms, copied in (norms_of(4, noise=noise) for noise in (0.05, 0.6))
        ]

        assert chances[0] < chances[1] + math.log(1e-3)

    @pytest.mark.parametrize(("given", "surer"), [({"spread": 0.05}, True), ({"spread": 1.0}, False)])
    def test_what_is_usual_may_be_said_otherwise(self, given, surer):
        norms, copied = norms_of(5, noise=0.2)
        usual, other = (pair_standings(planted_in(norms, 3.0), copied, **g)[0].log_chance for g in ({}, given))

        assert (other < usual) is surer

    def test_with_no_weight_of_the_usual_spread_only_the_models_own_counts(self):
        norms, copied = norms_of(5, noise=0.2)
        first = pair_standings(norms, copied, freedom=1e-9)[0]

        assert first.log_chance == pytest.approx(
            by_hand(norms, copied, (first.source, first.target), freedom=1e-9)[1], rel=1e-6
        )


class TestNormsThatAreMissing:
    def test_an_infinite_one_counts_as_the_largest_that_is_not(self):
        norms, copied = norms_of(6)
        largest, beside = max(norms.values()), max(copied.values())
        said = pair_standings({**norms, (0, 1): largest}, {**copied, (2, 3): beside})

        assert pair_standings({**norms, (0, 1): math.inf}, {**copied, (2, 3): math.inf}) == said
        assert said != pair_standings(norms, copied)

    def test_one_of_nothing_counts_as_a_thousandth_of_a_pixel(self):
        norms, copied = norms_of(6)

        assert pair_standings({**norms, PLANTED: 0.0}, copied) == pair_standings({**norms, PLANTED: 1e-3}, copied)
        assert math.isfinite(pair_standings({**norms, PLANTED: 0.0}, copied)[0].easier)

    def test_pairs_that_only_one_of_the_two_has_are_left_out(self):
        norms, copied = norms_of(7)
        some = {p: n for p, n in norms.items() if p != (0, 1)}
        others = {p: n for p, n in copied.items() if p != (5, 2)}
        found = pair_standings(some, others)
        both = set(some) & set(others)

        assert {(one.source, one.target) for one in found} == both
        assert found == pair_standings({p: norms[p] for p in both}, {p: copied[p] for p in both})

    def test_classes_that_are_no_sources_cost_their_rows_and_nothing_else(self):
        norms, copied = norms_of(8, noise=0.0)
        some = {p: n for p, n in planted_in(norms, 4.0).items() if p[0] != 2}
        first = pair_standings(some, copied)[0]

        assert (first.source, first.target, first.easier) == (*PLANTED, pytest.approx(math.log(4.0)))

    @pytest.mark.parametrize("side", [0, 1])
    def test_where_nothing_worked_nothing_is_said(self, side):
        given = list(norms_of(9))
        given[side] = dict.fromkeys(given[side], math.inf)

        assert pair_standings(*given) == []

    def test_without_a_pair_nothing_is_said(self):
        assert pair_standings({}, {}) == []
        assert pair_standings({(0, 1): 2.0}, {(1, 0): 2.0}) == []


@pytest.mark.parametrize(("classes", "said"), [(2, False), (FEWEST_CLASSES - 1, False), (FEWEST_CLASSES, True)])
def test_of_too_few_classes_nothing_is_said(classes, said):
    found = pair_standings(*norms_of(10, classes=classes))

    assert len(found) == (classes * (classes - 1) if said else 0)


@given(st.permutations(range(CLASSES)), st.floats(0.2, 50.0), st.floats(0.2, 50.0))
def test_neither_the_unit_of_norms_nor_the_numbers_of_classes_matter(order, one, other):
    norms, copied = norms_of(11)
    found = pair_standings(planted_in(norms, 3.0), copied)
    moved = pair_standings(
        {(order[s], order[t]): one * n for (s, t), n in planted_in(norms, 3.0).items()},
        {(order[s], order[t]): other * n for (s, t), n in copied.items()},
    )

    for standing in found:
        same = standing_of(moved, (order[standing.source], order[standing.target]))
        assert same.easier == pytest.approx(standing.easier, abs=1e-6)
        assert same.log_chance == pytest.approx(standing.log_chance, abs=1e-6)
