"""How high labels stand: as measured, less what models of the same task explain, or less what a copy keeps."""

import math

import pytest

from mantrap.ops.explained import less_kept, less_ordinary
from mantrap.records.traits import MARGIN, PATCH, PERTURBATION, ROW_MEAN, TRAITS
from mantrap.workflow.heights import Beside, heights_of, sights_beside, sights_of
from tests.nulls import null_of, value_of

NULL = null_of(alike=0.6)
KEPT = 0.7
HEIGHTS = {0: 2.5, 1: 2.9, 2: 2.2, 3: 2.6, 4: 3.4, 5: 2.4, 6: 2.7}


def values(trait, heights):
    """What a detector says of labels of these heights."""
    return {trait.name: {label: value_of(trait, height) for label, height in heights.items()}}


def turned(by=2):
    """Heights of another model that finds other labels easy."""
    return {label: HEIGHTS[(label + by) % len(HEIGHTS)] for label in HEIGHTS}


def copy_of(*measured, unsure=(), null=None, **changes):
    return Beside(measured, null or null_of(kept=KEPT, spread=0.3, **changes), frozenset(unsure))


PATCHES = values(PATCH, HEIGHTS)
OTHERS = values(PATCH, turned())


class TestWithoutACopy:
    def test_a_trait_stands_as_it_was_measured(self):
        (sight,) = sights_of([PATCHES], NULL)

        assert sight.heights == pytest.approx(HEIGHTS)
        assert (sight.trait, sight.values, sight.scatter) == (PATCH, PATCHES["patch"], NULL.of("patch"))

    def test_what_references_explain_is_taken_away(self):
        (sight,) = sights_of([PATCHES], NULL, [[PATCHES]])
        heights, scatter = less_ordinary(HEIGHTS, [HEIGHTS], NULL.of("patch"))

        assert sight.heights == pytest.approx(heights)
        assert sight.scatter.spread == pytest.approx(scatter.spread) != NULL.of("patch").spread

    def test_each_detector_has_what_the_same_one_measured_of_references(self):
        measured, others = [values(MARGIN, HEIGHTS), PATCHES], [values(MARGIN, turned()), PATCHES]
        patches, margins = sights_of(measured, NULL, [others])

        assert patches.heights == pytest.approx(less_ordinary(HEIGHTS, [HEIGHTS], NULL.of("patch"))[0])
        assert margins.heights == pytest.approx(less_ordinary(HEIGHTS, [turned()], NULL.of("margin"))[0])

    def test_traits_come_in_their_usual_order(self):
        measured = [values(ROW_MEAN, HEIGHTS), values(MARGIN, HEIGHTS), PATCHES]

        assert [s.trait.name for s in sights_of(measured, NULL)] == ["patch", "margin", "row_mean"]

    def test_what_nobody_knows_or_nobody_measured_is_left_out(self):
        measured = [PATCHES, {"colour": {0: 1.0}, "margin": {}}]

        assert [s.trait for s in sights_of(measured, NULL)] == [PATCH]
        assert sights_of(measured, null_of("margin")) == []


class TestBesideACopy:
    def test_what_it_keeps_is_taken_away(self):
        beside = copy_of(OTHERS)
        (sight,) = sights_beside([PATCHES], beside)

        assert sight.heights == pytest.approx(less_kept(HEIGHTS, turned(), KEPT))
        assert sight.scatter == beside.null.of("patch")

    def test_the_values_are_those_that_were_measured_of_the_model(self):
        (sight,) = sights_beside([PATCHES], copy_of(OTHERS))

        assert (sight.trait, sight.values) == (PATCH, PATCHES["patch"])

    def test_labels_that_it_is_unsure_of_stay_as_they_were(self):
        (sight,) = sights_beside([PATCHES], copy_of(OTHERS, unsure=(1, 4)))

        assert sight.heights == pytest.approx(less_kept(HEIGHTS, turned(), KEPT, unsure=(1, 4)))
        assert sight.heights[1] == pytest.approx(HEIGHTS[1])

    @pytest.mark.parametrize(
        "beside",
        [
            copy_of(OTHERS, null=null_of(kept=0.0)),
            copy_of({}),
            copy_of(values(PATCH, {0: 2.5})),
            copy_of(OTHERS, unsure=tuple(HEIGHTS)[1:]),
            copy_of(OTHERS, null=null_of("margin", kept=KEPT)),
        ],
        ids=["nothing is kept", "not measured there", "one label", "unsure of all but one", "nothing known of it"],
    )
    def test_that_says_nothing_of_any_trait_there_is_nothing_to_see(self, beside):
        assert sights_beside([PATCHES], beside) == []

    def test_traits_that_it_cannot_show_stand_as_they_were_measured(self):
        null = null_of("patch", kept=KEPT)
        rows = null_of("row_mean", kept=0.0)
        both = null_of("patch", "row_mean")
        known = type(both)(
            arch="", scatters=(*null.scatters, *rows.scatters), together=both.together, learned_from="both"
        )
        beside = copy_of(OTHERS, values(ROW_MEAN, turned()), null=known)
        patches, means = sights_beside([PATCHES, values(ROW_MEAN, HEIGHTS)], beside)

        assert patches.heights == pytest.approx(less_kept(HEIGHTS, turned(), KEPT))
        assert (means.trait, means.scatter) == (ROW_MEAN, known.of("row_mean"))
        assert means.heights == pytest.approx(HEIGHTS)

    def test_traits_that_it_should_show_and_does_not_are_left_out(self):
        measured = [PATCHES, values(MARGIN, HEIGHTS)]

        assert [s.trait for s in sights_beside(measured, copy_of(OTHERS, {}))] == [PATCH]

    def test_each_detector_is_compared_with_what_the_same_one_measured_of_it(self):
        again = {label: h + 1.0 for label, h in HEIGHTS.items()}
        measured = [values(PERTURBATION, again), {}, PATCHES]
        found = sights_beside(measured, copy_of(values(PERTURBATION, turned(3)), {}, OTHERS))

        assert [(s.trait, s.heights) for s in found] == [
            (PATCH, pytest.approx(less_kept(HEIGHTS, turned(), KEPT))),
            (PERTURBATION, pytest.approx(less_kept(again, turned(3), KEPT))),
        ]


@pytest.mark.parametrize("trait", TRAITS.values(), ids=lambda t: t.name)
def test_heights_are_those_of_the_trait_and_a_value_without_a_place_has_none(trait):
    found = heights_of(trait.name, values(trait, HEIGHTS)[trait.name] | {9: math.nan, 10: math.inf})

    assert found == pytest.approx(HEIGHTS)
    assert heights_of("margin", {0: -2.0, 1: 0.0}) == {}
