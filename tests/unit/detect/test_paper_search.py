"""The search for one label: its schedule as a machine of its own, and what it keeps."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mantrap.core import ImageSet, Rng
from mantrap.detect.paper_search import (
    CostSchedule,
    SearchSettings,
    TriggerSearch,
    _endless_batches,
    _from_tanh,
    _to_tanh,
)
from mantrap.errors import FailedError, SpecError
from tests.planted import Planted

UP, DOWN = 1.5, 1.5**1.5
SMALL = Planted(shape=(1, 4, 6), classes=3)


def costs(outcomes: str, **settings: float) -> list[float]:
    """The weight after each step; ``+`` is a step that worked, ``-`` one that did not."""
    schedule, trace = CostSchedule(SearchSettings(**settings)), []
    for outcome in outcomes:
        schedule.adapt(works=outcome == "+")
        trace.append(schedule.cost)
    return trace


class TestCost:
    """Hand-written traces of the authors' code, with its patience of 5."""

    def test_it_is_0_until_the_attack_has_worked_five_times_in_a_row(self):
        assert costs("++++" + "-" + "++++" + "-----") == [0.0] * 14
        assert costs("+++++") == [0.0, 0.0, 0.0, 0.0, 1e-3]

    def test_the_step_that_sets_it_is_the_first_of_five_towards_raising_it(self):
        assert costs("+" * 14)[4:] == pytest.approx([1e-3] * 4 + [1e-3 * UP] * 5 + [1e-3 * UP**2])

    def test_it_falls_after_five_steps_in_a_row_that_did_not_work(self):
        assert costs("+++++" + "-----")[4:] == pytest.approx([1e-3] * 5 + [1e-3 / DOWN])
        assert costs("+++++" + "-" * 11)[9:] == pytest.approx([1e-3 / DOWN] * 5 + [1e-3 / DOWN**2] * 2)

    def test_one_step_of_the_other_kind_starts_the_count_anew(self):
        assert costs("+++++" + "+++-" * 9)[4:] == [1e-3] * 37
        assert costs("+++++" + "----+" * 6)[4:] == [1e-3] * 31

    def test_patience_start_and_factor_are_those_of_the_settings(self):
        trace = costs("++" + "+" + "----", patience=2, initial_cost=0.5, cost_multiplier=4.0)

        assert trace == pytest.approx([0.0, 0.5, 2.0, 2.0, 0.25, 0.25, 0.03125])

    @given(st.text("+-", max_size=80))
    def test_it_is_never_negative_and_moves_by_the_two_factors_only(self, outcomes):
        trace = [0.0, *costs(outcomes)]

        assert min(trace) == 0.0
        for before, after in itertools.pairwise(trace):
            if before == 0.0:
                assert after in (0.0, 1e-3)
            else:
                assert any(math.isclose(after, before * factor) for factor in (1.0, UP, 1 / DOWN))


def steps_until_exhausted(outcomes: str, norms: list[float], **settings: float) -> int | None:
    """The step, from 1, after which the search ends early; ``norms`` is the smallest norm so far at each step."""
    schedule = CostSchedule(SearchSettings(**settings))
    for step, (outcome, norm) in enumerate(zip(outcomes, norms, strict=True), start=1):
        schedule.best_norm = norm
        if schedule.exhausted():
            return step
        schedule.adapt(works=outcome == "+")
    return None


class TestEarlyStop:
    quick = {"patience": 2, "early_stop_patience": 3}  # noqa: RUF012

    def test_never_before_the_weight_went_up_and_down(self):
        # ++ sets the weight, + raises it, -- lowers it after step 5. Steps 2 to 5 already made no progress.
        assert steps_until_exhausted("++++++++++++", [5.0] * 12, **self.quick) is None
        assert steps_until_exhausted("+++--+-+-+-+", [5.0] * 12, **self.quick) == 6

    def test_a_fall_before_the_weight_was_set_does_not_count(self):
        # The weight is 0 at first and falls from 0 to 0; setting it takes that back.
        assert steps_until_exhausted("----++++++++", [math.inf] * 4 + [5.0] * 8, **self.quick) is None

    def test_never_before_anything_has_worked(self):
        assert steps_until_exhausted("-" * 40, [math.inf] * 40, **self.quick) is None

    def test_progress_starts_the_count_anew(self):
        outcomes = "+++--+-+-+-+-+-+-"
        norms = [5.0] * 5 + [4.0] * 2 + [3.0] + [3.0] * 9

        assert steps_until_exhausted(outcomes, norms, **self.quick) == 11

    def test_a_threshold_below_1_asks_for_more_than_a_little_progress(self):
        outcomes, norms = "+++--+-+-+-+-+-+-", [5.0 * 0.995**step for step in range(17)]

        assert steps_until_exhausted(outcomes, norms, **self.quick) is None
        assert steps_until_exhausted(outcomes, norms, **self.quick, early_stop_threshold=0.99) == 6


@pytest.fixture
def search() -> TriggerSearch:
    return make(SearchSettings(steps=4, images_per_step=8, batch_size=4, success_threshold=0.75))


def make(settings: SearchSettings, target: int = 1, seed: int = 0) -> TriggerSearch:
    return TriggerSearch(target, SMALL.model(), SMALL.images(3, "scan"), settings, Rng(seed))


def answers(hits: int, total: int = 4, target: int = 1) -> Tensor:
    """Logits that send so many of the images to the target."""
    logits = torch.zeros(total, 3)
    logits[:hits, target], logits[hits:, target - 1] = 5.0, 5.0
    return logits


def step(search: TriggerSearch, norm: float, *hits: int) -> None:
    """One step with a mask of this norm, whose batches had so many hits of four."""
    with torch.no_grad():
        search._mask_tanh.copy_(_to_tanh(torch.full((4, 6), norm / 24)))
    for count in hits:
        search.loss(answers(count))
    search.end_step()


class TestKept:
    def test_the_smallest_mask_that_worked_is_kept_and_not_the_last_one(self, search):
        step(search, 9.0, 4, 4)
        step(search, 5.0, 4, 3)
        step(search, 3.0, 1, 4)
        step(search, 7.0, 4, 4)
        found, trigger = search.result()

        assert found.norm == trigger.norm == pytest.approx(5.0, rel=1e-4)
        assert trigger.target == 1
        assert (found.label, found.steps, found.stopped) == (1, 4, "cut short")

    def test_a_little_smaller_is_smaller(self, search):
        step(search, 9.0, 4, 4)
        step(search, 8.9, 4, 4)

        assert search.result()[0].norm == pytest.approx(8.9, rel=1e-4)

    def test_success_is_that_of_all_images_of_a_step(self, search):
        step(search, 9.0, 4, 2)
        step(search, 8.0, 4, 1)

        assert search.result()[0].norm == pytest.approx(9.0, rel=1e-4)

    def test_a_label_that_never_works_is_censored_and_has_no_norm(self, search):
        step(search, 9.0, 2, 2)
        step(search, 4.0, 0, 0)
        found, trigger = search.result()

        assert found.censored
        assert trigger is None

    def test_what_is_kept_does_not_move_with_the_search(self, search):
        step(search, 6.0, 4, 4)
        kept = search.result()[1].mask.clone()
        step(search, 8.0, 4, 4)

        assert torch.equal(search.result()[1].mask, kept)
        assert not search.result()[1].mask.requires_grad

    def test_images_are_counted(self, search):
        step(search, 9.0, 4, 4)
        step(search, 9.0, 4, 4)

        assert search.images_seen == 16

    def test_the_last_step_ends_it(self, search):
        ended = []
        for _ in range(4):
            step(search, 9.0, 0, 0)
            ended.append(search.stopped)

        assert ended == ["", "", "", "cut short"]

    def test_the_share_done_grows_to_1_and_never_falls(self):
        search = make(SearchSettings(steps=40, images_per_step=4, batch_size=4, patience=1, early_stop_patience=3))
        shares = [search.share_done]
        while not search.stopped:  # a smaller norm in every fourth step puts the early stop off
            step(search, 9.0 - search.step // 4, 4 if search.step % 2 else 0)
            shares.append(search.share_done)

        assert shares == sorted(shares)
        assert (shares[0], shares[-1]) == (0, 1)
        assert any(0 < share < 1 for share in shares)

    def test_a_search_whose_weight_went_both_ways_is_not_cut_short(self, search):
        search._schedule._went_up = search._schedule._went_down = True
        for _ in range(4):
            step(search, 9.0, 0, 0)

        assert search.stopped == "last step"


class TestStart:
    def test_each_label_and_seed_starts_somewhere_else_and_the_same_one_at_the_same_place(self):
        settings = SearchSettings()

        assert torch.equal(make(settings).mask, make(settings).mask)
        assert torch.equal(make(settings).stamped(), make(settings).stamped())
        assert not torch.equal(make(settings).mask, make(settings, seed=1).mask)

    def test_mask_and_pattern_lie_in_0_to_1_also_after_steps(self, search):
        with SMALL.model().frozen() as model:
            for _ in range(5):
                search.loss(model.logits(search.stamped())).backward()
                search.update()

        assert search.mask.shape == (4, 6)
        assert search.pattern.shape == (1, 4, 6)
        for values in (search.mask, search.pattern):
            assert values.min().item() >= 0.0
            assert values.max().item() <= 1.0

    def test_the_optimiser_is_the_papers(self):
        (group,) = make(SearchSettings())._adam.param_groups

        assert (group["lr"], group["betas"]) == (0.1, (0.5, 0.9))

    def test_a_step_has_as_many_whole_batches_as_its_images_make_and_at_least_one(self):
        assert make(SearchSettings()).batches_per_step == 31
        assert make(SearchSettings(images_per_step=3, batch_size=4)).batches_per_step == 1

    @given(st.floats(0.0, 1.0))
    def test_the_change_of_variables_goes_both_ways(self, value):
        assert float(_from_tanh(_to_tanh(torch.tensor(value)))) == pytest.approx(value, abs=1e-5)


class TestLoss:
    def test_it_is_the_cross_entropy_while_the_weight_is_0_and_has_the_norm_afterwards(self, search):
        first = search.loss(answers(4)).item()
        search._schedule.cost = 0.25
        second = search.loss(answers(4)).item()

        assert first == pytest.approx(math.log(1 + 2 * math.exp(-5)), rel=1e-4)
        assert second == pytest.approx(first + 0.25 * search.mask.sum().item(), rel=1e-5)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_logits_that_are_no_numbers_are_an_error_that_names_the_label(self, search, value):
        with pytest.raises(FailedError, match=r"finite logits while searching for label 1, .* at step 0") as caught:
            search.loss(torch.full((4, 3), value))
        assert caught.value.exit_code == 5


@given(st.integers(1, 7), st.integers(1, 9))
def test_every_pass_shows_every_image_once_in_an_order_of_its_own(count, size):
    pixels = torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1)
    stream = _endless_batches(ImageSet.from_array(pixels), size, Rng(0))
    batches = -(-count // size)
    passes = [[next(stream) for _ in range(batches)] for _ in range(8)]
    orders = [(torch.cat(one).flatten() * 255).round().int().tolist() for one in passes]

    assert all(sorted(order) == list(range(count)) for order in orders)
    assert all(len(batch) == size for one in passes for batch in one[:-1])
    assert count < 4 or len({tuple(order) for order in orders}) > 1


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("steps", 0, "of at least 1"),
        ("images_per_step", 0, "of at least 1"),
        ("batch_size", -1, "of at least 1"),
        ("patience", 0, "of at least 1"),
        ("early_stop_patience", 0, "of at least 1"),
        ("learning_rate", 0.0, "above 0"),
        ("initial_cost", -1e-3, "above 0"),
        ("early_stop_threshold", 0.0, "above 0"),
        ("cost_multiplier", 1.0, "above 1"),
        ("success_threshold", 0.0, r"in \(0, 1\]"),
        ("success_threshold", 1.01, r"in \(0, 1\]"),
    ],
)
def test_settings_that_make_no_sense_are_refused(field, value, expected):
    with pytest.raises(SpecError, match=f"expected {field} {expected}, got {value}"):
        SearchSettings(**{field: value})


def test_the_defaults_are_the_references():
    settings = SearchSettings()

    assert (settings.steps, settings.images_per_step, settings.batch_size) == (1000, 1000, 32)
    assert (settings.success_threshold, settings.initial_cost, settings.cost_multiplier) == (0.99, 1e-3, 1.5)
    assert (settings.patience, settings.early_stop_threshold, settings.early_stop_patience) == (5, 1.0, 25)
