"""What is ordinary about a label is taken away as far as others share it, and honestly so."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mantrap.ops.explained import less_kept, less_ordinary
from mantrap.ops.moderated import log_chances
from mantrap.records import Scatter

ALIKE = 0.6
KNOWN = Scatter(
    trait="patch", spread=0.4, freedom=8.0, centre=2.0, between=None, models=1000, labels=10_000, alike=ALIKE
)
LABELS = 12


def task(models, seed, alike=ALIKE):
    """Heights of models of one task [models, labels]: a shared effect of each label, and each model's own."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0, KNOWN.spread * math.sqrt(alike), LABELS)
    own = rng.normal(0, KNOWN.spread * math.sqrt(1 - alike), (models, LABELS))
    return rng.normal(2.0, 0.5, (models, 1)) + shared + own


def by_label(row):
    return dict(enumerate(row.tolist()))


def rest_of(rows, scatter=KNOWN):
    """The first model's heights beside the others."""
    return less_ordinary(by_label(rows[0]), [by_label(row) for row in rows[1:]], scatter)


class TestWhatIsLeft:
    @pytest.mark.parametrize("references", [1, 3, 20])
    def test_scatters_no_more_than_it_says_and_little_less(self, references):
        left, said = [], []
        for seed in range(400):
            heights, scatter = rest_of(task(references + 1, seed))
            left.append(np.var(list(heights.values()), ddof=1))
            said.append(scatter.spread**2)

        assert np.mean(said) < 0.85 * KNOWN.spread**2
        assert 0.75 * np.mean(said) < np.mean(left) <= np.mean(said)

    def test_is_the_less_the_more_references_there_are(self):
        spreads = [np.mean([rest_of(task(1 + n, seed))[1].spread for seed in range(50)]) for n in (1, 2, 5, 50)]

        assert spreads == sorted(spreads, reverse=True)
        assert spreads[-1] == pytest.approx(KNOWN.spread * math.sqrt(1 - ALIKE), rel=0.1)

    def test_has_the_mean_that_was_there(self):
        rows = task(4, 1)
        heights, _ = rest_of(rows)

        assert np.mean(list(heights.values())) == pytest.approx(rows[0].mean())

    def test_of_one_reference_that_agrees_as_usual_is_what_two_models_do_not_share(self):
        row = task(1, 3)[0]
        heights, scatter = less_ordinary(by_label(row), [by_label(row + 5.0)], KNOWN)

        assert heights == {k: pytest.approx(h - ALIKE * (h - row.mean())) for k, h in enumerate(row)}
        assert scatter.spread == pytest.approx(KNOWN.spread * math.sqrt(1 - ALIKE**2))


class TestAnOrdinaryLabel:
    def test_that_stands_out_in_every_model_of_its_task_is_not_accused(self):
        rows = task(4, 2)
        rows[:, 5] += 2.0
        alone = log_chances(rows[0].tolist(), KNOWN)[5]
        heights, scatter = rest_of(rows)

        assert math.exp(alone) < 0.01
        assert math.exp(log_chances([heights[k] for k in range(LABELS)], scatter)[5]) > 0.02

    def test_one_that_stands_out_in_this_model_alone_stands_out_further(self):
        further = []
        for seed in range(50):
            rows = task(4, seed)
            rows[0, 5] += 1.5
            heights, scatter = rest_of(rows)
            beside = log_chances([heights[k] for k in range(LABELS)], scatter)[5]
            further.append(beside < log_chances(rows[0].tolist(), KNOWN)[5])

        assert np.mean(further) > 0.7

    @pytest.mark.parametrize("references", [1, 3])
    def test_is_as_rare_as_its_chance_says(self, references):
        chances = []
        for seed in range(300):
            heights, scatter = rest_of(task(references + 1, seed))
            chances += [math.exp(log) for log in log_chances(list(heights.values()), scatter)]

        low, high = stats.binom.ppf([1e-4, 1 - 1e-4], len(chances), 0.05)
        assert low <= sum(c < 0.05 for c in chances) <= high

    def test_is_still_so_where_references_have_nothing_in_common_with_it(self):
        strange = (np.vstack([task(1, seed), task(3, 10_000 + seed)]) for seed in range(300))
        chances = []
        for rows in strange:
            heights, scatter = rest_of(rows)
            chances += [math.exp(log) for log in log_chances(list(heights.values()), scatter)]

        assert np.mean(np.array(chances) < 0.01) < 0.05


class TestNothingIsTakenAway:
    HEIGHTS: ClassVar = {0: 1.0, 1: 2.5, 4: 0.5, 5: 1.5, 6: 0.7, 7: 1.2}

    def same(self, references, scatter=KNOWN):
        return less_ordinary(self.HEIGHTS, references, scatter) == (self.HEIGHTS, scatter)

    def test_without_references(self):
        assert self.same([])

    def test_where_models_of_one_task_have_nothing_in_common(self):
        assert self.same([self.HEIGHTS], dataclasses.replace(KNOWN, alike=0.0))

    def test_where_they_know_of_one_label_at_most(self):
        assert self.same([{0: 5.0, 9: 1.0}, {0: 4.0}])

    def test_where_labels_are_too_few_to_tell_whether_they_agree(self):
        few = {k: self.HEIGHTS[k] for k in (0, 1, 4, 5)}

        assert less_ordinary(few, [few], KNOWN) == (few, KNOWN)

    def test_by_references_that_find_easy_what_is_hard_here(self):
        assert self.same([{k: -h for k, h in self.HEIGHTS.items()}])

    def test_by_references_that_agree_on_the_highest_label_alone(self):
        assert self.same([{0: 0.1, 1: 2.5, 4: 0.9, 5: 0.0, 6: 0.3, 7: 0.1}])

    def test_from_a_label_that_no_reference_knows(self):
        reference = {k: h for k, h in self.HEIGHTS.items() if k != 1}
        heights, scatter = less_ordinary(self.HEIGHTS, [reference], KNOWN)

        assert heights[1] == self.HEIGHTS[1]
        assert heights[5] < self.HEIGHTS[5]
        assert heights[4] > self.HEIGHTS[4]
        assert scatter.spread < KNOWN.spread


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.floats(-5, 5))
def test_how_high_a_reference_stands_as_a_whole_does_not_matter(heights, shift):
    reference = [math.sin(3 * k) for k in range(len(heights))]
    one, other = (
        less_ordinary(dict(enumerate(heights)), [{k: v + by for k, v in enumerate(reference)}], KNOWN)
        for by in (0.0, shift)
    )

    assert one[0] == pytest.approx(other[0], abs=1e-9)
    assert one[1].spread == pytest.approx(other[1].spread)


KEPT, OF_COPY, OWN = 0.7, 0.5, 0.3
"""What a label owes to what its copy keeps, how far labels of a copy scatter, and what a model has beside that."""


def beside(seed, labels=LABELS):
    """Heights of a model and of its copy, and what the model has that the copy explains nothing of."""
    rng = np.random.default_rng(seed)
    copied = rng.normal(rng.normal(1.0, 2.0), OF_COPY, labels)
    own = rng.normal(0, OWN, labels)
    return by_label(rng.normal(2.0, 0.5) + KEPT * copied + own), by_label(copied), own


def spread_of(heights):
    return np.var(list(heights.values()), ddof=1)


class TestWhatACopyDoesNotExplain:
    @pytest.mark.parametrize("kept", [KEPT, 0.4, 0.0])
    def test_scatters_as_theory_says(self, kept):
        found = [spread_of(less_kept(heights, copied, kept)) for heights, copied, _ in map(beside, range(400))]
        theory = OWN**2 + (KEPT - kept) ** 2 * OF_COPY**2

        assert np.mean(found) == pytest.approx(theory, rel=4 * math.sqrt(2 / (400 * (LABELS - 1))))

    def test_is_what_the_model_has_of_its_own_where_the_slope_is_the_true_one(self):
        heights, copied, own = beside(3)
        rest = less_kept(heights, copied, KEPT)

        assert [h - rest[0] for h in rest.values()] == pytest.approx(list(own - own[0]))

    def test_has_the_mean_that_was_there(self):
        heights, copied, _ = beside(4)

        assert np.mean(list(less_kept(heights, copied, KEPT).values())) == pytest.approx(np.mean([*heights.values()]))

    def test_of_a_label_that_is_lost_in_the_copy_stands_out_further_than_its_height_does(self):
        heights, copied, _ = beside(5)
        heights[7] = max(heights.values()) + 0.5
        lost = less_kept(heights, copied | {7: min(copied.values())}, KEPT)
        there = less_kept(heights, copied | {7: max(copied.values()) + 1.0}, KEPT)
        chances = [
            log_chances(list(h.values()), dataclasses.replace(KNOWN, spread=OWN))[7] for h in (there, heights, lost)
        ]

        assert there[7] < heights[7] < lost[7]
        assert chances == sorted(chances, reverse=True)
        assert math.exp(chances[2]) < 0.01 < math.exp(chances[0])


class TestACopy:
    HEIGHTS: ClassVar = {0: 1.0, 1: 3.0, 2: 2.0, 3: 5.0}
    COPIED: ClassVar = {0: 1.0, 1: 2.0, 2: 3.0, 3: 2.0}

    def test_in_which_a_label_could_not_be_forced_at_all_has_it_at_its_lowest(self):
        without = {label: h for label, h in self.COPIED.items() if label != 3}

        assert less_kept(self.HEIGHTS, without, 0.5) == less_kept(self.HEIGHTS, without | {3: 1.0}, 0.5)

    def test_that_is_unsure_of_a_label_leaves_it_and_counts_it_nowhere(self):
        plain = less_kept({0: 1.0, 1: 3.0}, {0: 1.0, 1: 2.0}, 0.5)
        for strange in ({2: 50.0, 3: -50.0}, {2: 50.0}, {}):
            rest = less_kept(self.HEIGHTS, {0: 1.0, 1: 2.0} | strange, 0.5, unsure={2, 3})
            assert rest == {**plain, 2: 2.0, 3: 5.0}

    @pytest.mark.parametrize(
        ("copied", "unsure"),
        [({}, ()), ({0: 1.0}, ()), ({0: 1.0, 8: 2.0, 9: 3.0}, ()), ({0: 1.0, 1: 2.0, 2: 3.0}, (1, 2))],
        ids=["nothing", "one", "labels that were not scanned", "labels it is unsure of"],
    )
    def test_that_knows_of_fewer_than_two_labels_says_nothing(self, copied, unsure):
        assert less_kept(self.HEIGHTS, copied, 0.5, unsure=unsure) is None

    def test_that_knows_of_two_is_enough(self):
        assert less_kept({0: 1.0, 1: 3.0}, {0: 1.0, 1: 2.0}, 0.5) == {0: 1.25, 1: 2.75}

    def test_of_which_nothing_is_kept_takes_nothing_away(self):
        assert less_kept(self.HEIGHTS, self.COPIED, 0.0) == self.HEIGHTS

    @given(st.dictionaries(st.integers(0, 9), st.floats(-3, 3), min_size=2), st.floats(-5, 5), st.floats(0, 1))
    def test_may_stand_as_high_as_a_whole_as_it_likes(self, heights, shift, kept):
        copied = {k: math.sin(3 * k) for k in heights}
        one, other = (less_kept(heights, {k: v + by for k, v in copied.items()}, kept) for by in (0.0, shift))

        assert one == pytest.approx(other, abs=1e-9)
        assert sum(one.values()) == pytest.approx(sum(heights.values()), abs=1e-9)
