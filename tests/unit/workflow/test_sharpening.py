"""Patches that were recovered are searched for once more, and the smaller one is taken."""

import pytest
import torch

from mantrap.core import SILENT, Cost, Detection, ReversedPatch, ReversedPerturbation, Rng
from mantrap.workflow import sharpening
from mantrap.workflow.sharpening import sharpened
from tests import stage


def patch(target, opacity):
    return ReversedPatch(target, torch.full((16, 16), opacity), torch.zeros(1, 16, 16))


CHANGE = ReversedPerturbation(3, torch.zeros(1, 16, 16))


class Searcher:
    """Finds these patches, and remembers what it was asked for."""

    def __init__(self, *found):
        self.found, self.asked = found, []

    def detect(self, model, clean, *, heldout, labels, rng, progress):
        del model, rng, progress
        self.asked.append((clean, heldout, labels))
        return Detection(detector="searcher", num_classes=6, triggers=self.found, cost=Cost(7, 5))


@pytest.fixture
def sharpen(monkeypatch):
    """Sharpen triggers with a searcher that finds these patches; what came, its cost, and what it was asked for."""

    def sharpen(given, *found):
        searcher, images = Searcher(*found), stage.image_set(100)
        monkeypatch.setattr(sharpening, "THOROUGH", searcher)
        parts = images.subset(range(80)), images.subset(range(80, 100))
        return *sharpened(stage.model(planted=True), *parts, given, rng=Rng(0), progress=SILENT), searcher.asked

    return sharpen


def test_a_smaller_patch_takes_the_place_of_the_one_that_was_recovered(sharpen):
    better = patch(4, 0.01)
    (found,), cost, asked = sharpen((patch(4, 0.02),), better)

    assert found is better
    assert cost == Cost(7, 5)
    assert [(len(clean), len(heldout), labels) for clean, heldout, labels in asked] == [(80, 20, [4])]


@pytest.mark.parametrize("found", [(patch(4, 0.03),), (patch(2, 0.01),), ()], ids=["larger", "other", "none"])
def test_else_it_stays(sharpen, found):
    first = patch(4, 0.02)

    assert sharpen((first,), *found)[0] == (first,)


def test_the_order_stays_and_what_is_no_patch_too(sharpen):
    first, second, better = patch(4, 0.02), patch(1, 0.02), patch(1, 0.01)
    found, _, asked = sharpen((first, CHANGE, second), patch(4, 0.5), better)

    assert found == (first, CHANGE, better)
    assert asked[0][2] == [1, 4]


def test_where_there_is_no_patch_nothing_is_searched(sharpen):
    assert sharpen((CHANGE,), patch(3, 0.01)) == ((CHANGE,), Cost(), [])


def test_the_real_search_finds_a_patch_no_larger_than_a_large_one_that_works():
    images = stage.image_set()
    large = patch(stage.TARGET, 1.0)
    (found,), cost = sharpened(
        stage.model(planted=True),
        images.subset(range(90)),
        images.subset(range(90, 120)),
        (large,),
        rng=Rng(0),
        progress=SILENT,
    )

    assert found.norm < large.norm / 2
    assert cost.backward > 0
