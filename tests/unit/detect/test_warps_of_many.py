"""Of many labels some are looked at first: where most of them are out of reach of a warp, the others are left."""

import pytest

from mantrap.core import Rng
from mantrap.detect import universal_warp
from mantrap.detect.blind_spots import WARPING
from mantrap.workflow.rundir import FolderMemo
from tests.hurried import StopsAfter
from tests.scans import facts
from tests.warps import FAR_OFF, LABELS, WIDE, Watched, near, scan


@pytest.fixture(autouse=True)
def four_are_many(monkeypatch):
    monkeypatch.setattr(universal_warp, "_MANY", 4)
    monkeypatch.setattr(universal_warp, "_SOME", 2)


@pytest.mark.parametrize("bending", [WIDE, FAR_OFF], ids=["near", "far"])
def test_some_are_drawn_that_are_looked_at_first(monkeypatch, bending):
    watched = Watched(monkeypatch, 80, None)
    scan(bending=bending)
    (first, *rest) = [labels for labels, _ in watched.made]

    assert len(first) == 2
    assert sorted([*first, *(label for unit in rest for label in unit)]) == (
        list(LABELS) if bending is WIDE else sorted(first)
    )


def test_if_most_of_these_are_far_the_others_are_left_and_nobody_misses_them():
    found = scan(bending=FAR_OFF, rng=Rng(0))

    assert len(near(found)) == 2
    assert found.missed == 0
    assert WARPING in found.blind_spots
    assert found.notes == (universal_warp._FAR, universal_warp._FAR_AWAY.format(2, 4))


def test_where_they_are_not_the_answer_is_that_for_all_labels(monkeypatch):
    apart = scan()
    monkeypatch.setattr(universal_warp, "_MANY", 5)

    assert near(apart) == pytest.approx(near(scan()), rel=1e-4)
    assert not apart.notes


def test_what_is_finished_is_not_searched_again(monkeypatch, tmp_path):
    first = scan(memo=FolderMemo(tmp_path))
    watched = Watched(monkeypatch, 80, None)
    second = scan(memo=FolderMemo(tmp_path))

    assert watched.made == []
    assert facts(first) == facts(second)


def test_who_waits_is_told_of_all_of_it():
    watch = StopsAfter(100)
    scan(bending=FAR_OFF, progress=watch, rng=Rng(0))

    assert watch.left == pytest.approx(100 - 4)
