"""A search in units: the same numbers however it is cut or killed, the smallest triggers, and too little memory."""

import dataclasses
import math

import pytest
import torch

from mantrap.core import FORGETFUL, SILENT, Cost, Rng
from mantrap.detect import unit_search
from mantrap.detect.arm_triggers import AdditionArms, PatchArms
from mantrap.detect.unit_search import UnitSearch
from mantrap.errors import FailedError
from mantrap.workflow.rundir import FolderMemo
from tests.planted import Planted

PLANTED = Planted(shape=(1, 10, 12), classes=7, target=1)
SETTINGS = PatchArms(steps=40, labels_at_once=3, images_per_step=16)
every_kind = pytest.mark.parametrize(
    "settings", [SETTINGS, AdditionArms(steps=40, labels_at_once=3)], ids=lambda s: type(s).__name__
)


def run(settings=SETTINGS, labels=range(7), *, keep=2, memo=FORGETFUL, progress=SILENT, made_with="cpu"):
    model = PLANTED.model()
    model.module.eval()
    pixels = PLANTED.images(8, "scan").images()
    return UnitSearch(model, pixels, settings, keep, Rng(0), made_with).run(labels, progress=progress, memo=memo)


@every_kind
def test_the_smallest_triggers_are_kept_with_their_labels_smallest_first(settings):
    found, everything = run(settings), run(settings, keep=7)
    order = sorted((label for label in found.norms if found.norms[label] < math.inf), key=found.norms.get)

    assert sorted(found.norms) == list(range(7))
    assert len(order) > 3
    assert everything.smallest == tuple(order)
    assert found.smallest == tuple(order[:2])
    for name, kept in found.triggers.items():
        assert torch.equal(kept, everything.triggers[name][:2])


def test_a_trigger_that_is_kept_has_the_norm_that_is_said():
    found = run()

    assert found.smallest[0] == PLANTED.target
    for label, mask in zip(found.smallest, found.triggers["mask"], strict=True):
        assert float(mask.sum()) == pytest.approx(found.norms[label], rel=1e-5)


@every_kind
def test_how_labels_are_put_together_changes_nothing_but_the_last_digits(settings):
    one = run(settings)
    for at_once in (1, 7):
        other = run(dataclasses.replace(settings, labels_at_once=at_once))
        assert other.smallest == one.smallest
        assert other.norms == pytest.approx(one.norms, rel=1e-3)


def test_the_order_of_the_labels_changes_nothing_at_all():
    one, other = run(), run(labels=range(6, -1, -1))

    assert other.norms == one.norms
    assert all(torch.equal(other.triggers[name], kept) for name, kept in one.triggers.items())


def test_a_label_that_no_trigger_reaches_is_not_among_the_smallest():
    found = run(dataclasses.replace(SETTINGS, steps=1), keep=7)

    assert set(found.norms.values()) == {math.inf}
    assert (found.smallest, found.triggers) == ((), {})


class Interrupted:
    """A memo that is interrupted after some units."""

    def __init__(self, memo, units):
        self.memo, self.units, self.loads = memo, units, []

    def load(self, key):
        self.loads.append(key)
        return self.memo.load(key)

    def save(self, key, tensors):
        self.memo.save(key, tensors)
        self.units -= 1
        if self.units == 0:
            raise KeyboardInterrupt


def test_a_killed_search_goes_on_after_the_last_finished_unit(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(memo=Interrupted(FolderMemo(tmp_path), 2))
    searched = []
    real = unit_search.ArmSearch
    monkeypatch.setattr(unit_search, "ArmSearch", lambda *a, **k: searched.append(a[2]) or real(*a, **k))
    resumed, whole = run(memo=FolderMemo(tmp_path)), run()

    assert [sorted({arm.target for arm in arms}) for arms in searched[:1]] == [[6]]
    assert resumed.norms == whole.norms
    assert resumed.smallest == whole.smallest
    assert all(torch.equal(resumed.triggers[name], kept) for name, kept in whole.triggers.items())
    assert resumed.cost == whole.cost == Cost(7 * 2 * 40 * 16, 7 * 2 * 40 * 16)


def test_a_finished_unit_of_other_labels_is_not_taken(tmp_path):
    run(labels=[4], memo=FolderMemo(tmp_path))

    assert run(labels=[2], memo=FolderMemo(tmp_path)).norms == run(labels=[2]).norms


def test_a_unit_that_was_made_on_another_device_is_not_taken(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(memo=Interrupted(FolderMemo(tmp_path), 2), made_with="cuda-bfloat16")
    memo = Interrupted(FolderMemo(tmp_path), 0)
    run(memo=memo)

    assert memo.units == -3


class Cramped:
    """A search that finds no memory for more than so many images in a pass."""

    def __init__(self, monkeypatch, most, error):
        self.tried, real = [], unit_search.ArmSearch

        def search(model, images, arms, settings, rng, *, at_once):
            self.tried.append((min(arm.target for arm in arms), at_once))
            one = real(model, images, arms, settings, rng, at_once=at_once)
            if at_once > most:
                one.advance = lambda: self.fail(error)
            return one

        monkeypatch.setattr(unit_search, "ArmSearch", search)

    def fail(self, error):
        raise error


NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda e: type(e).__name__)
def test_without_memory_the_unit_begins_again_with_half_as_many_images(monkeypatch, error):
    expected = run()
    cramped = Cramped(monkeypatch, 40, error)
    found = run()

    assert cramped.tried == [(0, 80), (0, 40), (3, 40), (6, 40)]
    assert found.norms == pytest.approx(expected.norms, rel=1e-3)
    assert found.notes == (
        "Memory ran out: 3 of 3 parts of the search had fewer images in a pass than the planned 80, at the end 40.",
    )
    assert expected.notes == ()


def test_a_resumed_search_still_says_that_memory_ran_out(monkeypatch, tmp_path):
    with monkeypatch.context() as patched:
        Cramped(patched, 40, MemoryError())
        first = run(memo=FolderMemo(tmp_path))

    assert run(memo=FolderMemo(tmp_path)).notes == first.notes != ()


def test_without_memory_for_one_arm_the_search_ends(monkeypatch):
    Cramped(monkeypatch, 8, MemoryError())
    with pytest.raises(FailedError, match=r"expected memory for 16 images in a pass, got less. .*images_per_step"):
        run()


def test_other_errors_pass(monkeypatch):
    cramped = Cramped(monkeypatch, 0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        run()
    assert len(cramped.tried) == 1


class Watch:
    """An observer that notes how far the work has come."""

    def __init__(self):
        self.total, self.done = 0.0, []

    def stage(self, _name, total):
        self.total = total
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def advance(self, amount=1, note=""):
        del note
        self.done.append(amount)


@pytest.mark.parametrize("most", [80, 16])
def test_progress_counts_what_is_done_again_once(monkeypatch, most):
    Cramped(monkeypatch, most, MemoryError())
    watch = Watch()
    run(progress=watch)

    assert watch.total == 7
    assert sum(watch.done) == pytest.approx(7)
    assert len(watch.done) == 3 * SETTINGS.steps
