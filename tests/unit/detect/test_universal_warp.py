"""The slight warp that brings all images nearest to each label: on a network that measures how far images were bent.

The oracle is ``tests/bending.py``; how warps are searched is in ``test_warping.py``, what every detector promises in
``tests/contracts``. Of labels 1 to 4 the first and the third need less than a warp may move pixels, the last half as
much again, and the second far more.
"""

import dataclasses
from functools import partial
from pathlib import Path

import pytest
import torch

from mantrap.core import FORGETFUL, Cost, ReversedWarp, Rng
from mantrap.detect import DEFAULT_DETECTORS, UniversalWarp, heldout, universal_warp
from mantrap.detect.blind_spots import CHANGING, SPREAD, WARPING
from mantrap.errors import FailedError, SpecError
from mantrap.ops.recovered import put_on
from mantrap.ops.scores import trigger_success
from mantrap.records.traits import WARP
from mantrap.workflow.rundir import FolderMemo
from tests.bending import Bending
from tests.hurried import StopsAfter
from tests.scans import facts
from tests.warps import FAR_OFF, LABELS, PLAIN, SHORT, WIDE, Watched, near, scan


@pytest.fixture(scope="module")
def found():
    return scan(PLAIN)


def test_an_audit_looks_for_it_where_no_detector_is_named():
    assert UniversalWarp.name in DEFAULT_DETECTORS


class TestAnswer:
    def test_labels_are_as_near_as_a_warp_can_bring_images_to_them(self, found):
        values, most = near(found), WIDE.most(PLAIN.far)
        for label in (1, 3, 4):
            # Images differ by a level of up to 0.05 pixels, and the edges keep a tenth of the way.
            assert WIDE.nearness(label, 0.85 * most, 3.0) < values[label] < WIDE.nearness(label, most + 0.05, 3.0)
        assert values[2] == 1e-3
        assert list(found.traits) == [WARP.name]

    def test_norms_are_the_odds_against_each_label(self, found):
        norms = {f.label: f.norm for f in found.labels}

        assert norms == pytest.approx({label: (1 - value) / value for label, value in near(found).items()})
        assert list(norms) == list(LABELS)
        assert {(f.steps, f.stopped) for f in found.labels} == {(40, "last step")}
        assert "as far from the label as near to it" in found.unit

    def test_the_warps_of_the_nearest_are_kept_and_run_where_the_label_needs_them(self, found):
        assert [trigger.target for trigger in found.triggers] == [1, 3]
        for trigger in found.triggers:
            assert isinstance(trigger, ReversedWarp)
            right, down = trigger.flow.mean((1, 2)).tolist()
            along, across = (right, down) if trigger.target == 1 else (down, right)
            assert along > 0.85 * WIDE.most(PLAIN.far) > 3 * abs(across)
            assert trigger.norm == pytest.approx(WIDE.most(PLAIN.far), rel=1e-4)

    def test_they_work_on_images_that_the_search_has_not_seen(self, found):
        images = WIDE.images(10, "heldout")
        for trigger in found.triggers:
            expected = trigger_success(WIDE.model(), images, partial(put_on, trigger=trigger), trigger.target)
            assert found.finding_for(trigger.target).success == expected
            assert (expected.value, expected.total) == (1.0, 10)
        assert [f.success for f in found.labels if f.label in (2, 4)] == [None, None]

    @pytest.mark.parametrize(
        ("shape", "needs"), [((1, 12, 20), ((0.4, 0.0), (-2.0, 0.0))), ((3, 20, 12), ((0.0, -0.4), (2.0, 0.0)))]
    )
    def test_it_is_found_in_grey_and_in_colour_wide_and_tall(self, shape, needs):
        bending = Bending(shape=shape, needs=needs)
        one = scan(PLAIN, bending=bending, labels=(1, 2))

        assert [t.target for t in one.triggers] == [1, 2]
        assert [t.flow.shape for t in one.triggers] == 2 * [(2, *shape[1:])]
        assert near(one)[1] > 0.7
        assert near(one)[2] < 0.01
        assert one.finding_for(1).success.value == 1.0

    def test_it_sees_what_others_are_blind_to_and_says_what_it_is_blind_to_itself(self, found):
        assert WARPING not in found.blind_spots
        assert {SPREAD, CHANGING} < set(found.blind_spots)

    def test_as_many_finalists_are_kept_as_are_wanted(self):
        for count, targets in ((1, [1]), (3, [1, 3, 4]), (9, [1, 3, 4, 2])):
            assert [t.target for t in scan(dataclasses.replace(PLAIN, finalists=count)).triggers] == targets

    @pytest.mark.parametrize("size", [1, 2, 4])
    def test_the_nearest_are_those_of_all_units_together(self, size):
        one = scan(dataclasses.replace(PLAIN, finalists=3, labels_at_once=size))

        assert [t.target for t in one.triggers] == [1, 3, 4]


class TestStrength:
    def test_a_warp_that_does_not_work_is_made_stronger_until_it_does_and_no_stronger(self):
        every = scan(dataclasses.replace(PLAIN, finalists=4))
        sizes = {t.target: t.norm / WIDE.most(PLAIN.far) for t in every.triggers}

        assert {label: sizes[label] for label in (1, 3)} == pytest.approx({1: 1.0, 3: 1.0}, rel=1e-4)
        assert 1.5 - 1e-4 <= sizes[4] <= 1.75 + 1e-4
        assert {f.label: f.success.value for f in every.labels} == {1: 1.0, 2: 0.0, 3: 1.0, 4: 1.0}

    @pytest.mark.parametrize("share", [0.99, 0.1])
    def test_how_many_images_it_has_to_work_on_is_as_is_said(self, share, monkeypatch):
        asked, real = [], universal_warp.strong_enough
        monkeypatch.setattr(universal_warp, "strong_enough", lambda *a, **k: asked.append(k) or real(*a, **k))
        scan(dataclasses.replace(SHORT, final_threshold=share))

        assert asked == 2 * [{"share": share, "at_once": 4}]

    def test_it_is_tried_on_two_hundred_images_at_most(self, monkeypatch):
        tried = []
        real = universal_warp.strong_enough
        monkeypatch.setattr(
            universal_warp, "strong_enough", lambda m, images, *a, **k: tried.append(images) or real(m, images, *a, **k)
        )
        scan(clean=WIDE.images(230, "scan"))

        assert [len(images) for images in tried] == [200, 200]


class TestNearness:
    """It is told so far from 0 and 1 and no farther; who is nearest goes by what was measured."""

    SATURATED = Bending(needs=((0.2, 0.0), (-0.15, 0.0)))

    @pytest.mark.parametrize(("far", "sharpness", "told"), [(0.035, 4.0, 0.999), (0.0005, 10.0, 0.001)])
    def test_of_labels_that_are_told_alike_the_one_that_was_nearer_is_kept(self, far, sharpness, told):
        settings = UniversalWarp(steps=60, sharpness=sharpness, finalists=1, far=far, precision="float32")
        # Of both labels it is told that they are as near or as far as can be told; the second is nearer.
        one = scan(settings, bending=self.SATURATED, labels=(1, 2))

        assert near(one) == {1: told, 2: told}
        assert [t.target for t in one.triggers] == [2]
        assert all(f.norm == pytest.approx((1 - told) / told) for f in one.labels)
        assert all(WARP.height(value) is not None for value in near(one).values())

    def test_of_labels_that_are_alike_the_first_is_kept(self):
        still = Bending(needs=((40.0, 0.0), (-40.0, 0.0), (0.0, 40.0)))
        one = scan(dataclasses.replace(SHORT, sharpness=900.0, finalists=1), bending=still, labels=(3, 2, 1))

        assert near(one) == {1: 1e-3, 2: 1e-3, 3: 1e-3}
        assert [t.target for t in one.triggers] == [1]


class TestLabels:
    def test_they_are_told_in_the_order_in_which_they_were_asked_for_which_changes_nothing(self):
        one, other = scan(), scan(labels=(4, 1, 3, 2))

        assert [f.label for f in other.labels] == list(near(other)) == [4, 1, 3, 2]
        assert near(other) == near(one)
        assert [facts(one)["triggers"], one.cost] == [facts(other)["triggers"], other.cost]

    def test_one_that_is_asked_for_twice_is_searched_once(self, monkeypatch):
        watched = Watched(monkeypatch)
        twice = scan(labels=(1, 3, 1))

        assert watched.made == [([1, 3], 80)]
        assert (twice.missed, [f.label for f in twice.labels]) == (0, [1, 3])
        assert facts(twice) == facts(scan(labels=(1, 3)))

    @pytest.mark.parametrize("together", [1, 3, 16])
    def test_how_they_are_put_together_changes_nothing_but_the_last_digits(self, together):
        one, other = scan(), scan(dataclasses.replace(SHORT, labels_at_once=together))

        assert near(other) == pytest.approx(near(one), rel=1e-2)
        assert [t.target for t in other.triggers] == [t.target for t in one.triggers]

    def test_one_that_is_scanned_alone_is_as_near_as_among_others(self):
        assert near(scan(labels=(3,)))[3] == pytest.approx(near(scan())[3], rel=1e-2)


class TestCost:
    def test_it_is_that_of_the_search_of_a_first_look_and_of_trying_and_measuring_the_warps(self):
        searched, tried = 4 * 8 * 4, 2 * (1 + len(heldout.FACTORS)) * 30

        assert scan().cost == Cost(forward=searched + 30 + tried + 3 * 10, backward=searched)
        assert scan(labels=(1, 3)).cost == Cost(forward=searched // 2 + 30 + tried + 3 * 10, backward=searched // 2)

    def test_no_more_images_are_taken_than_wanted_and_they_are_drawn(self, monkeypatch):
        taken, real = [], universal_warp.WarpSearch
        monkeypatch.setattr(
            universal_warp, "WarpSearch", lambda m, images, *a, **k: taken.append(images) or real(m, images, *a, **k)
        )
        scan(dataclasses.replace(SHORT, images=7), labels=(1,))
        everything = WIDE.images(30, "scan").images()

        assert len(taken[0]) == 7
        assert all(bool((everything == image).flatten(1).all(1).any()) for image in taken[0])
        assert not torch.equal(taken[0], everything[:7])

    def test_the_precision_is_handed_on(self, monkeypatch):
        asked, real = [], universal_warp.begin
        monkeypatch.setattr(universal_warp, "begin", lambda *a, **k: asked.append(k["precision"]) or real(*a, **k))
        for precision in ("auto", "float32"):
            scan(dataclasses.replace(SHORT, precision=precision))

        assert asked == ["auto", "float32"]


class TestMemory:
    @pytest.mark.parametrize(
        "error",
        [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory"), MemoryError()],
        ids=lambda e: type(e).__name__,
    )
    def test_without_it_a_unit_begins_again_with_half_as_many_images(self, monkeypatch, error):
        expected = scan()
        watched = Watched(monkeypatch, 20, error)
        found = scan()

        assert watched.made == [([k, k + 1], most) for k in (1, 3) for most in (80, 40, 20)]
        assert near(found) == pytest.approx(near(expected), rel=1e-2)

    def test_without_any_for_one_arm_the_search_ends(self, monkeypatch):
        Watched(monkeypatch, 0, MemoryError())
        with pytest.raises(FailedError, match="memory for 4 images in a pass"):
            scan()

    def test_other_errors_pass(self, monkeypatch):
        Watched(monkeypatch, 0, RuntimeError("shapes do not match"))
        with pytest.raises(RuntimeError, match="shapes do not match"):
            scan()

    def test_where_there_is_little_from_the_beginning_few_images_go_in_one_pass(self, monkeypatch):
        watched = Watched(monkeypatch)
        _, by_image = universal_warp.images_at_once(WIDE.model(), 0)
        for images, passes in ((1, 4), (10.5, 10), (1000, 80)):
            watched.made.clear()
            scan(dataclasses.replace(SHORT, memory=2 * images * by_image / universal_warp.GIB), labels=(1,))
            assert watched.made == [([1], passes)]


class TestMemo:
    def test_what_is_finished_is_not_searched_again(self, monkeypatch, tmp_path):
        first = scan(memo=FolderMemo(tmp_path))
        watched = Watched(monkeypatch)

        assert facts(scan(memo=FolderMemo(tmp_path))) == facts(first) == facts(scan(memo=FORGETFUL))
        assert len(watched.made) == 2  # both by the last one, which forgets

    def test_nor_is_it_where_labels_are_asked_for_in_another_order(self, monkeypatch, tmp_path):
        scan(memo=FolderMemo(tmp_path))
        watched = Watched(monkeypatch)
        scan(labels=(4, 1, 3, 2), memo=FolderMemo(tmp_path))

        assert watched.made == []

    def test_what_was_made_on_another_device_or_in_another_precision_is_searched_again(self, monkeypatch, tmp_path):
        scan(memo=FolderMemo(tmp_path))
        real = universal_warp.begin

        def other(*given, **more):
            images, fast = real(*given, **more)
            return images, dataclasses.replace(fast, precision="bfloat16")

        monkeypatch.setattr(universal_warp, "begin", other)
        watched = Watched(monkeypatch)
        scan(memo=FolderMemo(tmp_path))

        assert [labels for labels, _ in watched.made] == [[1, 2], [3, 4]]
        assert len(list(Path(tmp_path).iterdir())) == 4

    def test_a_unit_of_other_labels_is_searched_again(self, tmp_path):
        scan(labels=(3, 4), memo=FolderMemo(tmp_path))

        assert facts(scan(memo=FolderMemo(tmp_path))) == facts(scan())


class TestTime:
    @pytest.mark.parametrize(("most", "labels"), [(0, []), (1.5, []), (2, [1, 2]), (3.5, [1, 2]), (4, [1, 2, 3, 4])])
    def test_when_it_is_over_what_was_finished_counts_and_how_many_were_not_is_said(self, most, labels):
        one, whole = scan(progress=StopsAfter(most)), scan()

        assert [f.label for f in one.labels] == labels
        assert near(one) == {label: near(whole)[label] for label in labels}
        assert one.missed == 4 - len(labels)
        assert [t.target for t in one.triggers] == sorted(labels, key=lambda k: -near(whole)[k])[:2]
        assert one.cost.backward == len(labels) * 8 * 4

    def test_what_lies_in_the_memo_counts_too(self, tmp_path):
        scan(memo=FolderMemo(tmp_path))
        one = scan(progress=StopsAfter(0), memo=FolderMemo(tmp_path))

        assert (one.missed, near(one)) == (0, near(scan()))

    def test_where_no_unit_was_finished_there_is_nothing_to_tell(self):
        one = scan(progress=StopsAfter(0))

        assert (one.triggers, one.suspects, one.score, near(one)) == ((), (), None, {})


class TestProgress:
    @pytest.mark.parametrize("most", [80, 4])
    def test_what_is_done_again_for_want_of_memory_counts_once(self, monkeypatch, most):
        Watched(monkeypatch, most, MemoryError())
        watch = StopsAfter(100)
        scan(progress=watch)

        assert watch.left == pytest.approx(100 - 4)


def test_the_same_seed_gives_the_same_answer_and_another_another():
    one, again, other = (facts(scan(rng=Rng(seed))) for seed in (3, 3, 4))

    assert one == again != other


def test_the_model_stays_as_it_was_in_training_mode_too():
    model = WIDE.model()
    digest, mode = model.digest(), model.module.training
    SHORT.detect(model, WIDE.images(5, "scan"), heldout=WIDE.images(5, "heldout"), rng=Rng(0))

    assert (model.digest(), model.module.training) == (digest, mode)
    assert all(p.requires_grad and p.grad is None for p in model.module.parameters())


@pytest.mark.parametrize(
    "bad",
    [
        {"images": 0},
        {"finalists": 0},
        {"labels_at_once": 0},
        {"final_threshold": 0.0},
        {"final_threshold": 1.01},
        {"memory": 0.0},
        {"steps": 0},
        {"grid": 1},
        {"measure": 0.0},
    ],
    ids=lambda bad: "-".join(f"{k}={v}" for k, v in bad.items()),
)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        UniversalWarp(**bad)


def test_where_most_labels_are_out_of_reach_warps_are_a_blind_spot_and_a_note_says_why():
    within, beyond = scan(), scan(bending=FAR_OFF)

    assert [WARPING in found.blind_spots for found in (within, beyond)] == [False, True]
    assert not within.notes
    assert beyond.notes == (universal_warp._FAR,)
