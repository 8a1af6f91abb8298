"""Labels that stand out, alone and together, against a null that is known; honest where none does."""

import dataclasses
import math
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mantrap.ops.explained import less_kept
from mantrap.ops.moderated import joined, log_chance_of_level, log_chances
from mantrap.records import Nulls
from mantrap.records.traits import MARGIN, PATCH, PERTURBATION, ROW_MEAN, ROW_NORM
from mantrap.workflow import comparing
from mantrap.workflow.comparing import LEVEL_SHARE, beside_copy, compare
from mantrap.workflow.heights import Beside
from mantrap.workflow.shifting import SHIFT_SHARE
from tests.nulls import BETWEEN, FREEDOM, SPREAD, null_of, value_of

ALL = null_of()
ORDINARY = (2.5, 2.9, 2.2, 2.6, 3.0, 2.4, 2.7, 2.1, 2.8, 2.6)


def values(trait, heights):
    """A trait's values by label, of these heights."""
    return {trait.name: {label: value_of(trait, height) for label, height in enumerate(heights)}}


def chances(compared):
    return {s.label: s.log_chance for s in compared.standings}


def parts(compared, label):
    (standing,) = [s for s in compared.standings if s.label == label]
    return {p.trait.name: p for p in standing.parts}


class TestOneLabel:
    @pytest.mark.parametrize("trait", [PATCH, PERTURBATION, MARGIN, ROW_MEAN, ROW_NORM], ids=lambda t: t.name)
    def test_that_stands_out_by_any_trait_comes_first(self, trait):
        plain = compare([values(trait, ORDINARY)], ALL)
        planted = compare([values(trait, [*ORDINARY[:4], 6.5, *ORDINARY[5:]])], ALL)

        assert planted.first.label == 4
        assert planted.p_value < 0.02
        assert min(plain.p_value, plain.level) > 0.1

    def test_its_chance_is_that_of_its_height_among_the_others(self):
        heights = [*ORDINARY, 5.5]
        found = compare([values(PATCH, heights)], ALL)
        expected = log_chances(heights, ALL.of("patch"))[-1]

        assert found.first.label == 10
        assert found.first.log_chance == pytest.approx(expected)
        assert parts(found, 10)["patch"].chance == pytest.approx(math.exp(expected))
        assert parts(found, 10)["patch"].value == pytest.approx(math.exp(-5.5))

    def test_the_more_labels_there_are_the_likelier_one_of_them_does(self):
        few, many = (compare([values(MARGIN, [2.6] * count + [5.0])], ALL) for count in (2, 60))
        small = math.exp(few.first.log_chance)

        assert few.chance_of(few.first) == pytest.approx(
            3 * small * few.looks / (1 - LEVEL_SHARE - SHIFT_SHARE), rel=0.05
        )
        assert few.compared == 3
        assert many.compared == 61

    def test_a_chance_is_never_above_1(self):
        found = compare([values(PATCH, ORDINARY)], ALL)

        assert all(0 < found.chance_of(s) <= 1 for s in found.standings)
        assert 0 < found.level <= 1

    @given(st.permutations(range(10)))
    def test_which_number_it_has_does_not_matter(self, order):
        heights = [*ORDINARY[:9], 4.5]
        one, other = (compare([values(PATCH, hs)], ALL) for hs in (heights, [heights[i] for i in order]))

        assert order[other.first.label] == 9
        assert other.p_value == pytest.approx(one.p_value, rel=1e-6)


class TestTraits:
    def test_of_one_eye_count_together_as_one(self):
        heights = [*ORDINARY, 5.0]
        one = compare([values(PATCH, heights)], ALL)
        both = compare([values(PATCH, heights), values(PERTURBATION, heights)], ALL)

        assert both.first.log_chance == pytest.approx(one.first.log_chance + math.log(2))
        assert set(parts(both, 10)) == {"patch", "perturbation"}

    def test_of_one_eye_the_one_that_sees_something_is_enough(self):
        heights = [*ORDINARY, 5.0]
        alone = compare([values(PERTURBATION, heights)], ALL)
        beside = compare([values(PATCH, [*ORDINARY, 2.0]), values(PERTURBATION, heights)], ALL)

        assert beside.first.log_chance == pytest.approx(alone.first.log_chance + math.log(2))

    def test_of_several_eyes_are_joined_by_how_they_stand_out_together(self):
        heights = [*ORDINARY, 4.0]
        measured = [values(PATCH, heights), values(MARGIN, heights), values(ROW_NORM, heights)]
        alone = [compare([one], ALL).first.log_chance for one in measured]
        apart, alike = compare(measured, ALL), compare(measured, null_of(together=4.0))

        assert apart.first.log_chance == pytest.approx(joined(alone, (4 * np.eye(3)).tolist()))
        assert apart.first.log_chance < min(alone) < alike.first.log_chance
        assert alike.first.log_chance == pytest.approx(sum(alone) / 3, rel=0.05)

    @pytest.mark.parametrize("trait", [ROW_MEAN, ROW_NORM], ids=lambda t: t.name)
    def test_with_ordinary_causes_as_well_claim_no_chance_below_their_least(self, trait):
        found = compare([values(trait, [*ORDINARY, 60.0])], ALL)

        assert parts(found, 10)[trait.name].chance == pytest.approx(trait.least)
        assert found.first.log_chance == pytest.approx(math.log(trait.least))
        assert parts(compare([values(MARGIN, [*ORDINARY, 60.0])], ALL), 10)["margin"].chance < trait.least

    def test_a_label_that_lacks_one_is_not_made_suspicious_by_it(self):
        margins = values(MARGIN, [*ORDINARY, 5.0])
        del margins["margin"][3]
        found = compare([values(PATCH, [*ORDINARY, 2.6]), margins], ALL)
        without = compare([values(PATCH, [*ORDINARY, 2.6])], ALL)

        assert set(parts(found, 3)) == {"patch"}
        assert chances(found)[3] > chances(without)[3]
        assert found.first.label == 10

    def test_a_value_without_a_height_counts_as_ordinary(self):
        margins = values(MARGIN, ORDINARY)
        margins["margin"][3] = -2.0
        found = compare([margins], ALL)

        assert parts(found, 3)["margin"].chance == 1.0
        assert parts(found, 3)["margin"].value == -2.0
        assert found.standings[-1].label == 3

    @pytest.mark.parametrize("null", [null_of("patch"), null_of("patch", "row_norm")], ids=["one", "two"])
    def test_that_the_null_does_not_know_are_ignored(self, null):
        patches = values(PATCH, [*ORDINARY, 4.0])
        found = compare([patches, values(MARGIN, [9.0, *ORDINARY])], null)

        assert found.first.log_chance == compare([patches], null).first.log_chance
        assert set(parts(found, 10)) == {"patch"}

    def test_that_nobody_knows_are_ignored(self):
        patches = values(PATCH, [*ORDINARY, 4.0])

        assert compare([patches, {"colour": {0: 5.0, 1: 1.0}}], ALL) == compare([patches], ALL)
        assert compare([{"colour": {0: 5.0, 1: 1.0}}], ALL) is None

    @pytest.mark.parametrize("measured", [[], [{}], [{"patch": {}}]])
    def test_nothing_measured_is_nothing_to_compare(self, measured):
        assert compare(measured, ALL) is None

    def test_one_label_is_judged_where_the_level_is_known_and_says_nothing_where_it_is_not(self):
        assert compare([values(PATCH, [6.5])], ALL).p_value < 0.01
        assert compare([values(MARGIN, [6.5])], ALL).p_value == 1.0


class TestLevel:
    def test_labels_that_are_all_alike_easy_are_found_where_the_level_is_known(self):
        found = compare([values(PATCH, [5.5] * 10)], ALL)
        expected = log_chance_of_level([5.5] * 10, ALL.of("patch"))

        assert found.level == pytest.approx(math.exp(expected) / LEVEL_SHARE)
        assert found.p_value == found.level < 0.01

    def test_they_are_not_where_it_is_unknown(self):
        found = compare([values(MARGIN, [5.5] * 10)], ALL)

        assert found.level == 1.0
        assert found.p_value > 0.5

    def test_of_two_levels_the_smaller_chance_counts_twice(self):
        easy, usual = values(PATCH, [5.0] * 10), values(PERTURBATION, [2.6] * 10)

        assert compare([easy, usual], ALL).level == pytest.approx(2 * compare([easy], ALL).level)


class TestSeveralLabels:
    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_that_stand_out_do_not_hide_each_other(self, count):
        heights = [*(ORDINARY * 2), *[5.5] * count]
        found = compare([values(MARGIN, heights)], ALL)
        hidden = max(log_chances(heights, ALL.of("margin"))[-count:])

        assert {s.label for s in found.standings[:count]} == set(range(20, 20 + count))
        assert found.p_value < 0.01
        assert found.first.log_chance < hidden

    def test_each_label_stands_once_in_the_list(self):
        for heights in ([2.6], [*ORDINARY], [*ORDINARY, 5.5, 5.6, 5.7]):
            found = compare([values(PATCH, heights)], ALL)
            assert sorted(s.label for s in found.standings) == list(range(len(heights)))
            assert list(chances(found).values()) == sorted(chances(found).values())

    def test_so_few_that_none_can_be_set_aside_are_looked_at_once(self):
        assert compare([values(MARGIN, ORDINARY[:5])], ALL).looks == 1.0
        assert compare([values(MARGIN, ORDINARY[:6])], ALL).looks > 1.0


KEPT, OWN, OF_COPY = 0.7, 0.25, 0.5
COPIES = dataclasses.replace(null_of(kept=KEPT, spread=OWN), learned_from="models beside copies")
EASY = [*ORDINARY[:4], 4.2, *ORDINARY[5:]]
"""Of these label 4 is the one that stands out."""


class TestBesideACopy:
    def beside(self, heights, null=COPIES):
        return compare([values(PATCH, EASY)], ALL, beside=Beside([values(PATCH, heights)], null))

    def by_the_copy_alone(self, copied):
        """Logarithm of the chance of label 4 where nobody looks at the model alone."""
        rests = less_kept(dict(enumerate(EASY)), dict(enumerate(copied)), KEPT)
        return log_chances(list(rests.values()), COPIES.of("patch"))[4]

    def test_a_label_that_is_lost_there_stands_out_further(self):
        alone, lost = compare([values(PATCH, EASY)], ALL), self.beside(ORDINARY)

        assert lost.first.label == alone.first.label == 4
        assert lost.p_value < 0.2 * alone.p_value
        assert parts(lost, 4)["patch"].chance == pytest.approx(math.exp(self.by_the_copy_alone(ORDINARY)))
        assert parts(lost, 4)["patch"].value == pytest.approx(math.exp(-4.2))

    def test_a_label_that_is_kept_there_stands_as_it_does_alone_and_the_second_look_counts(self):
        alone, kept = compare([values(PATCH, EASY)], ALL), self.beside([*ORDINARY[:4], 4.9, *ORDINARY[5:]])

        assert self.by_the_copy_alone([*ORDINARY[:4], 4.9, *ORDINARY[5:]]) > math.log(0.3)
        assert kept == dataclasses.replace(alone, looks=2 * alone.looks)
        assert kept.p_value == pytest.approx(2 * alone.p_value)

    def test_both_looks_count_where_it_is_the_copy_that_tells(self):
        lost = self.beside(ORDINARY)

        assert lost.looks == 2 * compare([values(PATCH, EASY)], ALL).looks

    def test_what_it_was_compared_with_is_said(self):
        measured = [values(PATCH, EASY)]
        lost = Beside([values(PATCH, ORDINARY)], COPIES)
        kept = Beside([values(PATCH, [*ORDINARY[:4], 4.9, *ORDINARY[5:]])], COPIES)
        reference = [values(PATCH, ORDINARY)]

        assert compare(measured, ALL, [reference], lost).null == "models beside copies"
        assert (
            compare(measured, ALL, [reference], kept).null == f"1 model of the same task, and with {ALL.learned_from}"
        )

    @pytest.mark.parametrize(
        "copied", [{}, values(PATCH, [2.5]), values(MARGIN, ORDINARY)], ids=["nothing", "one label", "another trait"]
    )
    def test_that_says_nothing_there_was_one_look(self, copied):
        measured = [values(PATCH, EASY)]

        assert compare(measured, ALL, beside=Beside([copied], COPIES)) == compare(measured, ALL)

    def test_the_level_is_that_of_models_beside_copies_where_the_copy_tells(self):
        found, level = self.beside(ORDINARY), log_chance_of_level(EASY, COPIES.of("patch"))

        assert found.level == pytest.approx(min(1.0, math.exp(level) / LEVEL_SHARE))
        assert found.log_level == pytest.approx(level)

    def test_traits_are_joined_by_how_they_stand_out_together_there(self):
        measured = [values(PATCH, EASY), values(MARGIN, EASY)]
        copied = [values(PATCH, ORDINARY), values(MARGIN, ORDINARY)]
        apart, alike = (
            compare(measured, null_of(together=4.0), beside=Beside(copied, dataclasses.replace(COPIES, together=rows)))
            for rows in (COPIES.together, null_of(together=4.0).together)
        )
        alone = [p.chance for p in apart.first.parts]

        assert math.exp(apart.first.log_chance) < min(alone) < math.exp(alike.first.log_chance)


class TestACopyOfANetwork:
    @pytest.fixture(autouse=True)
    def known(self, monkeypatch):
        tables = Nulls(nulls=(ALL,), beside_copies=(COPIES, dataclasses.replace(COPIES, arch="resnet8")))
        monkeypatch.setattr(comparing, "known_nulls", lambda: tables)
        return tables

    MEASURED: ClassVar = [values(PATCH, ORDINARY)]

    def test_is_compared_with_such_copies(self, known):
        assert beside_copy("resnet8(width=4)", (1, 28, 28), self.MEASURED, (3, 3)) == Beside(
            self.MEASURED, known.beside_copies[1], frozenset({3})
        )
        assert beside_copy("other", (1, 28, 28), self.MEASURED).null == COPIES

    @pytest.mark.parametrize("shape", [(1, 11, 28), (3, 65, 65)])
    def test_is_not_compared_by_the_level_for_images_of_other_sizes(self, shape):
        assert beside_copy("other", shape, self.MEASURED).null == COPIES.without_levels()

    def test_that_was_not_measured_or_that_nobody_knows_is_none(self, known, monkeypatch):
        assert beside_copy("other", (1, 28, 28), None) is None
        older = dataclasses.replace(known, beside_copies=())
        monkeypatch.setattr(comparing, "known_nulls", lambda: older)
        assert beside_copy("other", (1, 28, 28), self.MEASURED) is None


def population(models, labels, seed, trait):
    """Heights [models, labels] of models without a backdoor, as the null says."""
    rng = np.random.default_rng(seed)
    spreads = np.sqrt(FREEDOM * SPREAD**2 / rng.chisquare(FREEDOM, (models, 1)))
    means = rng.normal(2.6, BETWEEN, (models, 1)) if trait.level else rng.normal(0.0, 3.0, (models, 1))
    return rng.normal(means, spreads, (models, labels))


class TestWithoutABackdoor:
    @pytest.mark.parametrize(("labels", "models"), [(2, 500), (5, 500), (6, 400), (10, 300), (20, 150)])
    @pytest.mark.parametrize("trait", [PATCH, MARGIN], ids=lambda t: t.name)
    def test_a_model_looks_suspicious_no_more_often_than_its_p_value_says(self, labels, models, trait):
        rows = population(models, labels, labels, trait)
        found = np.array([compare([values(trait, row)], ALL).p_value for row in rows])

        for level in (0.02, 0.07, 0.2):
            # 99.9 % of what as many honest tests would say, at most.
            assert (found < level).sum() <= stats.binom.ppf(0.9995, models, level)
        assert (found < 0.3).mean() > 0.08

    def test_nor_does_one_that_is_seen_by_two_eyes(self):
        patches, margins = population(200, 10, 1, PATCH), population(200, 10, 2, MARGIN)
        found = np.array(
            [compare([values(PATCH, p), values(MARGIN, m)], ALL).p_value for p, m in zip(patches, margins, strict=True)]
        )

        for level in (0.02, 0.07, 0.2):
            assert (found < level).sum() <= stats.binom.ppf(0.9995, 200, level)
        assert (found < 0.3).mean() > 0.08

    def test_nor_does_one_that_is_seen_beside_a_copy_as_well(self):
        rng = np.random.default_rng(5)
        shared, own = rng.normal(0, OF_COPY, (200, 10)), population(200, 10, 6, MARGIN) * OWN / SPREAD
        pairs = zip(KEPT * shared + own, shared, strict=True)
        found = np.array(
            [compare([values(MARGIN, h)], ALL, beside=Beside([values(MARGIN, c)], COPIES)).p_value for h, c in pairs]
        )

        for level in (0.02, 0.07, 0.2):
            assert (found < level).sum() <= stats.binom.ppf(0.9995, 200, level)
        assert (found < 0.5).mean() > 0.08
