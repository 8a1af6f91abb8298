"""A model that has learned nothing is not accused, and its record holds one chance for all that was looked for."""

import pytest
import torch

from mantrap.records import CheckStatus, Verdict
from mantrap.workflow.assembly import comparison_record
from mantrap.workflow.checks import check_images
from mantrap.workflow.verdict import decide
from tests import stage
from tests.unit.workflow.test_moved import MODEL, accused, compared, moved

IMAGES = 120


def with_right(share, labels=None):
    """Images of which the stage's model is right on about this share; the others have the label after theirs."""
    images = stage.image_set(IMAGES)
    own = images.labels if labels is None else labels
    wrong = torch.arange(IMAGES) >= round(share * IMAGES)
    return images.with_labels(torch.where(wrong, (own + 1) % stage.CLASSES, own))


def checked(images):
    found = check_images(stage.model(planted=True), images)
    (check,) = [c for c in found.checks if c.name == "clean accuracy"]
    return found, check


class TestAModel:
    @pytest.mark.parametrize(("share", "knows"), [(0.0, False), (0.15, False), (0.4, True), (0.9, True)])
    def test_knows_its_task_where_it_is_surely_better_than_one_answer_for_all(self, share, knows):
        found, check = checked(with_right(share))

        assert found.knows is knows
        assert ("accuses nobody" in check.message) is not knows
        assert (check.message in found.barring) is (share < 0.5)

    def test_of_which_most_images_are_of_one_class_has_to_be_better_than_half(self):
        """One answer for all would be right on nine in ten; more than half is asked of nobody."""
        images = stage.image_set(IMAGES)
        mostly = images.subset([i for i in range(IMAGES) if i % stage.CLASSES == 0])

        assert checked(mostly)[0].knows
        assert not checked(mostly.with_labels(mostly.labels + 1))[0].knows

    def test_without_labels_has_the_benefit_of_the_doubt(self):
        assert check_images(stage.model(planted=True), stage.image_set(labelled=False)).knows

    def test_is_warned_of_and_no_more_where_it_knows_little(self):
        found, check = checked(with_right(0.35))

        assert check.status is CheckStatus.WARNED
        assert found.knows


class TestAVerdict:
    @pytest.mark.parametrize("shift", [None, moved(1e-6)])
    @pytest.mark.parametrize("barred", [(), ("too little",)])
    def test_on_a_model_that_knows_nothing_accuses_nobody_and_clears_nobody(self, shift, barred):
        given = (compared(), accused(1e-6 if shift is None else 0.5), (shift,))

        assert decide(*given, other_suspects=False, barred=barred) is Verdict.SUSPICIOUS
        assert decide(*given, other_suspects=False, barred=barred, knows=False) is Verdict.INCONCLUSIVE
        ordinary = (compared(), accused(0.5))
        assert decide(*ordinary, other_suspects=False, barred=(), knows=False) is Verdict.INCONCLUSIVE


class TestAChance:
    def test_is_that_of_the_likeliest_of_labels_level_and_shifts(self):
        found = compared()
        alone, beside, far = (comparison_record(MODEL, found, of, None) for of in (None, moved(1e-30), moved(0.9)))

        assert (alone.p_value, alone.shift) == (found.p_value, None)
        assert beside.p_value == beside.shift == pytest.approx(1e-30, rel=1e-6)
        assert far.p_value == found.p_value < far.shift
