"""The low-cost scheme: when the list of the smallest has stayed, who is on it, and what is found of them."""

import dataclasses

import pytest
import torch

from mantrap.core import FORGETFUL, SILENT, Rng
from mantrap.detect import NeuralCleanse, UniversalPerturbation, low_cost
from mantrap.detect.arm_triggers import PatchArms
from mantrap.detect.arms import ArmSearch
from mantrap.detect.low_cost import search_listed, settled
from mantrap.detect.unit_search import UnitSearch
from mantrap.workflow.rundir import FolderMemo
from tests.hurried import StopsAfter
from tests.planted import Planted

PLANTED = Planted(shape=(1, 10, 12), classes=26, target=3)
SETTINGS = PatchArms(steps=40, labels_at_once=7, images_per_step=8, restarts=2)


def shifting(labels, steps, moves):
    """Norms of labels after each step, of which so many others are the hundred smallest from each step to the next."""
    norms = torch.full((labels, steps), 9.0)
    first = 0
    for step, move in enumerate(moves):
        first += move
        norms[first : first + 100, step] = 1.0
    return norms


class TestSettled:
    def test_the_list_has_stayed_after_ten_steps_that_share_more_than_half_with_the_last(self):
        assert settled(shifting(2000, 30, [0] + [49] * 29)) == 11

    def test_with_half_of_it_it_has_not(self):
        assert settled(shifting(2000, 30, [0] + [50] * 29)) is None

    def test_they_are_steps_in_a_row(self):
        assert settled(shifting(2000, 30, [0] + [0] * 8 + [60] + [0] * 20)) == 20
        assert settled(shifting(2000, 11, [0] + [0] * 8 + [60] + [0])) is None

    def test_few_labels_share_too_few(self):
        assert settled(torch.ones(50, 40)) is None
        assert settled(torch.ones(51, 40)) == 11


@pytest.fixture
def short_lists(monkeypatch):
    """Lists of five labels, of which more than three have to stay."""
    monkeypatch.setattr(low_cost, "LISTED", 5)
    monkeypatch.setattr(low_cost, "_SHARED", 3)


def search(settings=SETTINGS, keep=3):
    model = PLANTED.model()
    model.module.eval()
    return UnitSearch(model, PLANTED.images(4, "scan").images(), settings, keep, Rng(0), "cpu")


def run(labels=range(26), *, sample=4, memo=FORGETFUL, progress=SILENT):
    return search_listed(search(), labels, sample=sample, memo=memo, progress=progress)


@pytest.mark.usefixtures("short_lists")
class TestSearch:
    def test_those_on_the_list_and_the_sample_have_the_norms_of_a_search_of_all(self):
        found, whole = run(), search().run(range(26), progress=SILENT, memo=FORGETFUL)

        assert 5 <= len(found.norms) <= 9
        assert {*found.drawn} <= {*found.norms}
        assert len(found.drawn) == 4
        assert found.norms == pytest.approx({label: whole.norms[label] for label in found.norms}, rel=1e-3)
        assert found.smallest[0] == PLANTED.target
        assert found.given_up == dict.fromkeys(sorted({*range(26)} - {*found.norms}), 19)

    def test_the_list_is_that_of_the_step_after_which_it_has_stayed(self, monkeypatch):
        tables = []
        monkeypatch.setattr(low_cost, "settled", lambda norms: tables.append(norms) or 7)
        found = run(sample=0)
        (table,) = tables

        assert table.shape == (26, 11)
        assert len(found.norms) == 5

    @pytest.mark.parametrize("last", [1, 7, 11])
    def test_who_is_on_it_follows_from_that_step(self, monkeypatch, last):
        norms = {label: (torch.arange(19) + 7 * label) % 26 + 1.0 for label in range(26)}
        monkeypatch.setattr(low_cost, "_look", lambda *_: (norms, 4))
        monkeypatch.setattr(low_cost, "settled", lambda _: last)

        assert {*run(sample=0).norms} == {label for label in norms if norms[label][8 + last - 1] <= 5}

    def test_a_label_is_as_small_as_its_smallest_trigger(self, monkeypatch):
        tables = []
        monkeypatch.setattr(low_cost, "settled", lambda norms: tables.append(norms) or 1)
        run(range(7))
        one = search()
        alone = ArmSearch(one.model, one.images, one.arms_of(range(7)), SETTINGS, one.rng, at_once=80)
        for _ in range(19):
            alone.advance()

        assert tables[0][:, -1].tolist() == pytest.approx(alone.triggers.norms().view(7, 2).amin(1).tolist(), rel=1e-3)

    def test_units_of_the_look_and_of_the_search_are_kept_apart(self, tmp_path):
        found = run(memo=FolderMemo(tmp_path))
        assert len([*tmp_path.iterdir()]) == 4 + -(-len(found.norms) // 7)

    def test_where_it_has_not_all_are_searched_and_compared(self, monkeypatch):
        monkeypatch.setattr(low_cost, "settled", lambda _: None)
        found, whole = run(), search().run(range(26), progress=SILENT, memo=FORGETFUL)

        assert (found.norms, found.given_up, found.drawn) == (whole.norms, {}, None)
        assert found.cost.forward == whole.cost.forward + 26 * 2 * 19 * 8

    def test_the_cost_is_that_of_the_look_and_of_the_search(self):
        found = run()
        assert found.cost.forward == found.cost.backward == 26 * 2 * 19 * 8 + len(found.norms) * 2 * 40 * 8

    def test_the_order_of_the_labels_changes_nothing_at_all(self):
        one, other = run(), run(range(25, -1, -1))
        assert (one.norms, one.given_up, one.drawn) == (other.norms, other.given_up, other.drawn)

    @pytest.mark.parametrize("units", [2, 5])
    def test_a_killed_search_comes_to_the_same(self, tmp_path, units):
        class Killed(FolderMemo):
            saved = 0

            def save(self, key, tensors):
                super().save(key, tensors)
                self.saved += 1
                if self.saved == units:
                    raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(memo=Killed(tmp_path))
        resumed, whole = run(memo=FolderMemo(tmp_path)), run()

        for field in dataclasses.fields(whole):
            if field.name != "triggers":
                assert getattr(resumed, field.name) == getattr(whole, field.name)
        assert all(torch.equal(resumed.triggers[name], kept) for name, kept in whole.triggers.items())

    def test_when_time_is_over_in_the_look_nothing_is_said_of_any_label(self):
        found = run(progress=StopsAfter(8.0))

        assert (found.norms, found.given_up, found.smallest, found.drawn) == ({}, {}, (), ())
        assert 0 < found.cost.forward < 26 * 2 * 19 * 8

    @pytest.mark.parametrize("kind", [NeuralCleanse, UniversalPerturbation])
    @pytest.mark.parametrize("low", [False, True])
    def test_a_detector_takes_it_where_it_is_asked_to(self, kind, low, monkeypatch):
        monkeypatch.setattr(low_cost, "_SHARED", 0)
        settings = {"steps": 40, "images_per_step": 8, "final_steps": 8, "labels_at_once": 9, "precision": "float32"}
        found = kind(**settings, many=16, sample=16, low_cost=low).detect(
            PLANTED.model(), PLANTED.images(4, "scan"), heldout=PLANTED.images(2, "heldout"), rng=Rng(2)
        )
        steps = {f.steps for f in found.labels if f.given_up}

        assert steps == {19} if low else steps <= {7, 10, 20}
        assert found.triggers[0].target == PLANTED.target
        assert len(found.population) == 16
