"""Moderated t tests on populations that are known: honest for any number of labels, and sharp where something is."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mantrap.ops.moderated import MOST_FREEDOM, fit_scatter, joined, log_chance_of_level, log_chances
from mantrap.records import Scatter

KNOWN = Scatter(trait="patch", spread=0.4, freedom=6.0, centre=2.0, between=0.5, models=100_000, labels=1_000_000)
UNKNOWN = dataclasses.replace(KNOWN, between=None)

either = pytest.mark.parametrize("scatter", [KNOWN, UNKNOWN], ids=["level known", "level unknown"])
HEIGHTS = st.lists(st.floats(-5.0, 5.0), min_size=2, max_size=12)


def population(models, labels, seed, truth=KNOWN):
    """Heights [models, labels]: each model has a variance and a mean of its own, as the scatter says."""
    rng = np.random.default_rng(seed)
    spreads = np.sqrt(truth.freedom * truth.spread**2 / rng.chisquare(truth.freedom, (models, 1)))
    means = rng.normal(truth.centre, truth.between, (models, 1))
    return rng.normal(means, spreads, (models, labels))


def honest(rare, count, level):
    """Whether so many of so many tests are what 99.9 % of honest ones would say."""
    low, high = stats.binom.ppf([0.0005, 0.9995], count, level)
    return low <= rare <= high


class TestFit:
    def test_what_the_models_were_drawn_from_is_found_again(self):
        truth = Scatter(trait="t", spread=0.3, freedom=8.0, centre=-1.0, between=0.7, models=0, labels=0)
        found = fit_scatter("t", population(3000, 10, 0, truth).tolist(), level=True)

        assert found.spread == pytest.approx(0.3, rel=0.05)
        assert found.freedom == pytest.approx(8.0, rel=0.2)
        assert found.centre == pytest.approx(-1.0, abs=0.05)
        assert found.between == pytest.approx(0.7, rel=0.05)
        assert (found.trait, found.models, found.labels) == ("t", 3000, 30000)

    @pytest.mark.parametrize("freedom", [3.0, 30.0])
    def test_the_more_alike_the_models_the_more_degrees_of_freedom(self, freedom):
        found = fit_scatter(
            "t", population(600, 20, 1, dataclasses.replace(KNOWN, freedom=freedom)).tolist(), level=True
        )

        assert found.freedom == pytest.approx(freedom, rel=0.4)

    def test_models_that_are_all_alike_are_believed_up_to_a_point(self):
        alike = [[0.0, 1.0, 2.0], [5.0, 6.0, 7.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]

        assert fit_scatter("t", alike, level=True).freedom == MOST_FREEDOM

    def test_models_of_many_and_of_few_labels_count_together(self):
        models = [row[: 2 + 6 * (i % 4)] for i, row in enumerate(population(600, 20, 2).tolist())]
        found = fit_scatter("t", models, level=True)

        assert found.spread == pytest.approx(0.4, rel=0.1)
        assert found.freedom == pytest.approx(6.0, rel=0.4)
        assert found.between == pytest.approx(0.5, rel=0.15)

    def test_where_the_level_says_nothing_there_is_no_scatter_of_levels(self):
        assert fit_scatter("t", population(10, 5, 0).tolist(), level=False).between is None

    def test_equal_labels_in_every_model_leave_numbers_to_divide_by(self):
        found = fit_scatter("t", [[1.0, 1.0]] * 3, level=True)

        assert found.spread > 0
        assert found.between > 0

    @pytest.mark.parametrize("models", [[], [[1.0, 2.0]] * 2, [[1.0, 2.0]] * 2 + [[1.0], []]])
    def test_fewer_than_three_models_of_two_labels_are_refused(self, models):
        with pytest.raises(ValueError, match="expected at least 3 models of two labels or more, got"):
            fit_scatter("t", models, level=True)


class TestChances:
    @pytest.mark.parametrize(
        ("labels", "scatter"), [(1, KNOWN), *((k, s) for k in (2, 4, 10, 43) for s in (KNOWN, UNKNOWN))]
    )
    def test_without_anything_special_small_chances_are_as_rare_as_they_say(self, labels, scatter):
        found = np.array([log_chances(row, scatter)[0] for row in population(1000, labels, labels).tolist()])

        for level in (0.01, 0.05, 0.2, 0.5):
            assert honest((np.exp(found) < level).sum(), 1000, level)

    @pytest.mark.parametrize("labels", [2, 10, 43])
    @pytest.mark.parametrize("level", [True, False])
    def test_learned_from_forty_models_it_is_nearly_as_honest(self, labels, level):
        found = []
        for seed in range(20):
            models = population(140, labels, seed).tolist()
            scatter = fit_scatter("t", models[:40], level=level)
            found += [log_chances(row, scatter)[0] for row in models[40:]]

        assert 0.035 < float((np.exp(found) < 0.05).mean()) < 0.07

    @pytest.mark.parametrize("labels", [1, 2, 4, 10, 43])
    def test_so_are_small_chances_of_the_level(self, labels):
        found = np.array([log_chance_of_level(row, KNOWN) for row in population(1000, labels, labels).tolist()])

        for level in (0.01, 0.05, 0.2, 0.5):
            assert honest((np.exp(found) < level).sum(), 1000, level)

    @pytest.mark.parametrize("labels", [4, 10, 43])
    @either
    def test_a_label_that_was_planted_has_the_smallest_chance_and_a_small_one(self, labels, scatter):
        heights = population(1, labels, 3)[0].tolist()
        chances = log_chances([*heights, max(heights) + 4.0], scatter)

        assert min(chances) == chances[-1] < math.log(0.001)
        assert min(chances[:-1]) > math.log(0.01)

    def test_a_label_alone_is_compared_with_other_models_where_the_level_is_known(self):
        assert log_chances([5.0], KNOWN)[0] < math.log(0.01) < log_chances([2.2], KNOWN)[0]
        assert log_chances([5.0], UNKNOWN) == [0.0]

    def test_with_two_labels_less_is_needed_where_the_level_is_known(self):
        sure = dataclasses.replace(KNOWN, between=0.1)

        assert log_chances([2.0, 3.0], sure)[1] < math.log(0.03)
        assert log_chances([2.0, 3.0], UNKNOWN)[1] > math.log(0.05)

    def test_both_of_two_labels_may_stand_out_where_the_level_is_known_and_none_where_it_is_not(self):
        assert max(log_chances([5.0, 5.0], KNOWN)) < math.log(0.05)
        assert log_chances([5.0, 5.0], UNKNOWN) == pytest.approx([math.log(0.5)] * 2)

    def test_where_only_differences_count_the_level_changes_nothing(self):
        heights = [1.0, 1.5, 0.7, 3.0]

        assert log_chances([h + 50 for h in heights], UNKNOWN) == pytest.approx(log_chances(heights, UNKNOWN), abs=1e-6)
        assert log_chance_of_level([h + 50 for h in heights], UNKNOWN) == 0.0

    def test_many_labels_speak_for_themselves_whatever_is_usual_elsewhere(self):
        wide, narrow = (dataclasses.replace(UNKNOWN, spread=s) for s in (0.8, 0.2))
        few, many = (population(1, k, 5)[0].tolist() for k in (3, 200))

        def differ(heights):
            above = [*heights, 3.5]
            return abs(log_chances(above, wide)[-1] - log_chances(above, narrow)[-1])

        assert differ(many) < differ(few) / 4

    def test_a_label_far_below_hides_none_far_above(self):
        ordinary, target = [2.0, 2.2, 1.8, 2.1, 1.9, 2.0, 2.1, 1.9], 4.4
        plain = log_chances([*ordinary, 2.0, target], KNOWN)[-1]
        dead = log_chances([*ordinary, -8.0, target], KNOWN)[-1]

        assert plain < math.log(1e-4)
        assert dead < 0.5 * plain

    @given(heights=HEIGHTS, more=st.floats(0.1, 5.0))
    @either
    def test_the_higher_a_label_the_smaller_its_chance(self, heights, more, scatter):
        higher = [heights[0] + more, *heights[1:]]

        assert log_chances(higher, scatter)[0] <= log_chances(heights, scatter)[0] <= 0

    @given(heights=HEIGHTS, data=st.data())
    @either
    def test_the_order_of_the_labels_does_not_matter(self, heights, data, scatter):
        order = data.draw(st.permutations(range(len(heights))))
        one, other = log_chances(heights, scatter), log_chances([heights[i] for i in order], scatter)

        assert other == pytest.approx([one[i] for i in order], rel=1e-6, abs=1e-9)
        assert log_chance_of_level([heights[i] for i in order], scatter) == pytest.approx(
            log_chance_of_level(heights, scatter), rel=1e-9
        )

    def test_no_labels_have_no_chances(self):
        assert log_chances([], KNOWN) == []
        assert log_chance_of_level([], KNOWN) == 0.0


def independent(count):
    return (4 * np.eye(count)).tolist()


class TestJoined:
    @given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=6))
    def test_of_independent_chances_it_is_fishers(self, chances):
        found = joined([math.log(c) for c in chances], independent(len(chances)))

        assert math.exp(found) == pytest.approx(stats.combine_pvalues(chances, "fisher").pvalue, rel=1e-6)

    @given(chance=st.floats(1e-6, 1.0), count=st.integers(1, 6))
    def test_what_always_comes_together_counts_once(self, chance, count):
        found = joined([math.log(chance)] * count, [[4.0] * count] * count)

        assert math.exp(found) == pytest.approx(chance, rel=1e-6)

    def test_the_more_chances_depend_on_each_other_the_less_they_say_together(self):
        logs = [math.log(0.02), math.log(0.03)]
        found = [joined(logs, [[4.0, c], [c, 4.0]]) for c in (0.0, 1.0, 2.0, 3.0, 4.0)]

        assert found == sorted(found)
        assert found[0] < found[-1]

    def test_dependent_chances_are_honest_together(self):
        # The covariance of -2 log p of two normal numbers that correlate by r is about 3.263 r + 0.71 r^2 + 0.027 r^3
        # (Brown 1975, where it comes from).
        drawn = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], 2000)
        between = 3.263 * 0.6 + 0.71 * 0.6**2 + 0.027 * 0.6**3
        logs = stats.norm.logsf(drawn).tolist()
        dependent = np.exp([joined(pair, [[4.0, between], [between, 4.0]]) for pair in logs])
        careless = np.exp([joined(pair, independent(2)) for pair in logs])

        assert 0.035 < (dependent < 0.05).mean() < 0.065
        assert (careless < 0.05).mean() > 0.075

    @pytest.mark.parametrize("between", [0.0, 2.0])
    def test_far_out_chances_are_finite_and_in_order(self, between):
        together = [[4.0, between], [between, 4.0]]
        found = [joined([one, -3.0], together) for one in (-100.0, -400.0, -500.0, -700.0, -900.0, -5000.0)]

        assert all(math.isfinite(log) for log in found)
        assert found == sorted(found, reverse=True)
        assert found[-1] < 4 * found[1]

    def test_where_no_double_holds_the_chance_its_logarithm_is_still_right(self):
        assert joined([-5000.0], independent(1)) == pytest.approx(-5000.0)
        # Of two: the chance is (1 + x) exp(-x) with x the sum of both.
        assert joined([-800.0, -900.0], independent(2)) == pytest.approx(-1700 + math.log(1701), abs=1e-3)

    def test_no_chances_say_nothing(self):
        assert joined([], []) == 0.0
        assert joined([0.0, 0.0], independent(2)) == 0.0
