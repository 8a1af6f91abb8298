"""Labels that are given up early: which, when, what is found of the others, the same however it is run."""

import dataclasses
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.core import FORGETFUL, SILENT, Cost, Rng
from mantrap.detect import NeuralCleanse, UniversalPerturbation, unit_search
from mantrap.detect.arm_triggers import AdditionArms, PatchArms
from mantrap.detect.arms import ArmSearch
from mantrap.detect.halving import deal, going_on, looks
from mantrap.detect.passes import Arm
from mantrap.detect.unit_search import UnitSearch
from mantrap.errors import SpecError
from mantrap.ops.outliers import anomaly_indices
from mantrap.workflow.rundir import FolderMemo
from tests.hurried import StopsAfter
from tests.planted import Planted

PLANTED = Planted(shape=(1, 10, 12), classes=26, target=3)
SETTINGS = PatchArms(steps=40, labels_at_once=7, images_per_step=8)
every_kind = pytest.mark.parametrize(
    "settings", [SETTINGS, AdditionArms(steps=40, labels_at_once=7)], ids=lambda s: type(s).__name__
)


def run(settings=SETTINGS, labels=range(26), *, sample=4, keep=3, memo=FORGETFUL, progress=SILENT):
    model = PLANTED.model()
    model.module.eval()
    pixels = PLANTED.images(4, "scan").images()
    search = UnitSearch(model, pixels, settings, keep, Rng(0), "cpu", sample=sample)
    return search.run(labels, progress=progress, memo=memo)


class TestDealing:
    @given(st.integers(1, 60), st.integers(1, 17), st.integers(0, 70), st.integers(0, 3))
    def test_every_label_is_in_one_unit_and_the_sample_is_spread_over_them(self, count, together, sample, seed):
        labels = [3 * i for i in range(count)]
        dealt = deal(labels, together=together, sample=sample, rng=Rng(seed))
        drawn = [len(dealt.drawn & {*unit}) for unit in dealt.units]

        assert sorted(label for unit in dealt.units for label in unit) == labels
        assert all(list(unit) == sorted(unit) and 0 < len(unit) <= together for unit in dealt.units)
        assert len(dealt.drawn) == min(sample, count)
        assert max(drawn) - min(drawn) <= 1
        assert len(dealt.units) == math.ceil(count / together)

    def test_it_follows_from_the_labels_and_not_from_their_order(self):
        one, other = (deal(labels, together=5, sample=4, rng=Rng(1)) for labels in (range(23), range(22, -1, -1)))

        assert one == other
        assert one != deal(range(23), together=5, sample=4, rng=Rng(2))

    def test_every_label_is_drawn_as_often_as_any_other(self):
        drawn = [label for seed in range(600) for label in deal(range(12), together=5, sample=3, rng=Rng(seed)).drawn]
        often = [drawn.count(label) for label in range(12)]

        assert sum(often) == 1800
        assert all(abs(count - 150) < 5 * math.sqrt(150 * 0.75) for count in often)

    def test_neighbours_are_not_left_together(self):
        dealt = deal(range(100), together=10, sample=0, rng=Rng(0))
        assert sum(b - a == 1 for unit in dealt.units for a, b in itertools.pairwise(unit)) < 30


class TestLooking:
    @pytest.mark.parametrize(("steps", "expected"), [(60, (10, 15, 30)), (6, (1, 2, 3)), (2, (1,)), (1, ())])
    def test_happens_before_the_last_step_and_once_at_most_after_any(self, steps, expected):
        assert looks(steps) == expected

    @pytest.mark.parametrize(
        ("drawn", "expected"),
        [("....", [1, 3]), ("#...", [0, 1, 3]), (".#..", [1, 2, 3]), ("####", [0, 1, 2, 3]), ("###.", [0, 1, 2, 3])],
    )
    def test_keeps_what_was_drawn_and_the_better_half_of_the_others(self, drawn, expected):
        near = torch.tensor([0.0, 3.0, 1.0, 2.0])
        assert going_on(near, [mark == "#" for mark in drawn]).tolist() == expected

    def test_keeps_more_than_half_of_an_odd_number_and_the_first_of_equals(self):
        assert going_on(torch.zeros(5), [False] * 5).tolist() == [0, 1, 2]


@every_kind
def test_what_goes_on_has_the_norm_of_a_search_of_all(settings):
    whole, halved = run(settings, sample=None), run(settings)

    assert {*halved.norms} | {*halved.given_up} == {*whole.norms} == {*range(26)}
    assert not {*halved.norms} & {*halved.given_up}
    assert halved.norms == pytest.approx({label: whole.norms[label] for label in halved.norms}, rel=1e-3)
    assert halved.smallest[0] == whole.smallest[0] == PLANTED.target
    assert whole.given_up == {}
    assert whole.drawn is None


def test_the_sample_is_searched_to_the_end_and_of_each_unit_few_others_are():
    found = run()

    assert len(found.drawn) == 4
    assert {*found.drawn} <= {*found.norms}
    # 4 units of 6 or 7 labels, one of each drawn: of the 5 or 6 others 3, then 2, then 1 go on.
    assert len(found.norms) == 8
    assert sorted(found.given_up.values()) == [7] * 10 + [10] * 4 + [20] * 4


def test_labels_that_are_drawn_all_of_them_are_searched_as_if_none_could_be_given_up():
    assert run(sample=26).norms == pytest.approx(run(sample=None).norms, rel=1e-3)
    assert run(sample=26).given_up == {}


def test_the_cost_is_that_of_the_steps_that_were_made():
    found = run()
    steps = sum(found.given_up.values()) + 40 * len(found.norms)

    assert found.cost == Cost(steps * 2 * 8, steps * 2 * 8)
    assert found.cost.forward < 0.6 * run(sample=None).cost.forward


@every_kind
def test_the_trigger_that_is_kept_is_that_of_its_label(settings):
    found = run(settings, keep=8)

    sizes = (
        found.triggers["mask"].sum((1, 2))
        if "mask" in found.triggers
        else found.triggers["delta"].flatten(1).norm(dim=1)
    )
    assert sizes.tolist() == pytest.approx([found.norms[label] for label in found.smallest], rel=1e-4)


def test_the_order_of_the_labels_changes_nothing_at_all():
    one, other = run(), run(labels=range(25, -1, -1))

    assert (one.norms, one.given_up, one.drawn) == (other.norms, other.given_up, other.drawn)
    assert all(torch.equal(other.triggers[name], kept) for name, kept in one.triggers.items())


class Killed(FolderMemo):
    """A memo whose run is killed after two units."""

    saved = 0

    def save(self, key, tensors):
        super().save(key, tensors)
        self.saved += 1
        if self.saved == 2:
            raise KeyboardInterrupt


def test_a_killed_search_goes_on_after_the_last_finished_unit_and_comes_to_the_same(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        run(memo=Killed(tmp_path))
    begun = []
    real = unit_search.ArmSearch
    monkeypatch.setattr(unit_search, "ArmSearch", lambda *a, **k: begun.append(a[2]) or real(*a, **k))
    resumed, whole = run(memo=FolderMemo(tmp_path)), run()

    assert len(begun) == 2 + 4
    for field in dataclasses.fields(whole):
        if field.name != "triggers":
            assert getattr(resumed, field.name) == getattr(whole, field.name)
    assert all(torch.equal(resumed.triggers[name], kept) for name, kept in whole.triggers.items())


def test_when_time_is_over_only_what_was_reached_is_said_to_have_been_drawn():
    found = run(progress=StopsAfter(8.0))

    assert 0 < len(found.norms) + len(found.given_up) < 26
    assert {*found.drawn} < {*run().drawn}
    assert {*found.drawn} <= {*found.norms}


@every_kind
def test_arms_that_go_on_do_what_they_do_in_the_company_of_all(settings):
    model, pixels = PLANTED.model(), PLANTED.images(4, "scan").images()
    arms = [Arm(label, restart) for label in (2, 3, 9) for restart in (0, 1)]
    model.module.eval()
    some, everyone = (ArmSearch(model, pixels, arms, settings, Rng(0), at_once=96) for _ in range(2))
    rows = torch.tensor([1, 2, 5])
    for step in range(40):
        if step == 9:
            some.only(rows)
        some.advance()
        everyone.advance()

    assert some.arms == tuple(arms[i] for i in rows)
    for mine, theirs in (
        (some.best_norm, everyone.best_norm),
        (some.success, everyone.success),
        (some.cost, everyone.cost),
        (some.likely, everyone.likely),
        (some.nearness(), everyone.nearness()),
        *((tensor, everyone.triggers.best[name]) for name, tensor in some.triggers.best.items()),
    ):
        assert torch.allclose(mine, theirs[rows], rtol=1e-3, atol=1e-4)

    kept = {name: tensor.clone() for name, tensor in everyone.triggers.best.items()}
    everyone.only(rows)
    for name, tensor in everyone.triggers.best.items():
        assert torch.equal(tensor, kept[name][rows])
        assert not torch.equal(tensor, kept[name][:3])


def test_how_likely_the_label_was_counts_over_all_steps():
    model, pixels = PLANTED.model(), PLANTED.images(4, "scan").images()
    model.module.eval()
    search, total = ArmSearch(model, pixels, [Arm(3, 0), Arm(4, 0)], SETTINGS, Rng(0), at_once=96), torch.zeros(2)
    for _ in range(5):
        search.advance()
        total += search.likely.mean(1)
    expected = (total / 5).clamp(1e-6, 1 - 1e-6).logit() - 6 * search.triggers.norms().log()

    assert torch.allclose(search.nearness(), expected, rtol=1e-4)
    assert (search.likely_so_far > 0).all()


def test_nearer_is_what_is_likelier_and_what_is_smaller():
    model, pixels = PLANTED.model(), PLANTED.images(4, "scan").images()
    model.module.eval()
    search = ArmSearch(model, pixels, [Arm(3, 0), Arm(4, 0)], SETTINGS, Rng(0), at_once=96)
    search.step = 2
    search.triggers.mask[:] = 0.5
    search.likely_so_far[:] = torch.tensor([1.0, 0.8])
    likelier = search.nearness()
    search.likely_so_far[:] = 1.0
    search.triggers.mask[1] = 0.45
    smaller = search.nearness()

    assert likelier[0] > likelier[1]
    assert smaller[1] > smaller[0]
    assert likelier[0] == pytest.approx(-6 * math.log(60))


QUICK = {"steps": 40, "images_per_step": 8, "final_steps": 8, "labels_at_once": 9, "precision": "float32"}
HALVED = [kind(**QUICK, many=16, sample=16) for kind in (NeuralCleanse, UniversalPerturbation)]
either = pytest.mark.parametrize("settings", HALVED, ids=lambda s: s.name)


def scan(settings, **keywords):
    return settings.detect(
        PLANTED.model(), PLANTED.images(4, "scan"), heldout=PLANTED.images(2, "heldout"), rng=Rng(2), **keywords
    )


@either
def test_a_detector_names_those_that_it_gave_up_and_when(settings):
    found = scan(settings)
    early = {f.label: f.steps for f in found.labels if f.given_up}

    assert [f.label for f in found.labels] == list(range(26))
    assert {f.stopped for f in found.labels} == {"last step", "given up"}
    assert {*early.values()} <= {7, 10, 20}
    assert len(found.population) == 16
    assert not {*found.population} & {*early}
    assert all(f.norm is None for f in found.labels if f.label in early)
    assert not {*early} & {label for values in found.traits.values() for label in values}
    assert found.suspects[0] == PLANTED.target == found.triggers[0].target
    assert found.missed == 0
    (note,) = found.notes
    assert note == (
        f"{len(early)} of 26 labels were given up early, after 7 to {max(early.values())} steps, for others looked "
        "likelier. Labels are compared with 16 that were drawn at random and searched to the end."
    )


@either
def test_the_index_counts_deviations_of_those_that_were_drawn(settings):
    found = scan(settings)
    norms = {f.label: f.norm for f in found.labels if f.norm is not None}
    usual = [norms[label] for label in found.population if label in norms]

    assert found.indices == dict(zip(norms, anomaly_indices([*norms.values()], usual), strict=True))
    assert found.indices != dict(zip(norms, anomaly_indices([*norms.values()]), strict=True))


@either
def test_labels_up_to_so_many_are_all_searched_to_the_end(settings):
    few, just_more = scan(settings, labels=range(16)), scan(settings, labels=range(17))

    assert few.population is None
    assert not any(f.given_up for f in few.labels)
    assert few.notes == ()
    assert len(just_more.population) == 16


@either
def test_what_time_did_not_suffice_for_is_missing_and_not_given_up(settings):
    found = scan(settings, progress=StopsAfter(10.0))

    assert 0 < len(found.labels) < 26
    assert found.missed == 26 - len(found.labels)
    assert {*found.population} <= {f.label for f in found.labels}


@either
def test_where_time_is_over_before_any_was_given_up_nothing_is_said_of_that(settings):
    found = scan(settings, progress=StopsAfter(0.0))

    assert (found.missed, found.population) == (26, ())
    assert found.notes == ()


@pytest.mark.parametrize("bad", [{"many": 15}, {"sample": 15}])
@pytest.mark.parametrize("kind", [NeuralCleanse, UniversalPerturbation])
def test_too_few_to_compare_with_are_refused(kind, bad):
    (field,) = bad
    with pytest.raises(SpecError, match=f"{field} of at least 16, got 15"):
        kind(**bad)
