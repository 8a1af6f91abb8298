"""How fragile a planted model is, which is known in closed form."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import SILENT, Classifier
from mantrap.errors import DataError, OutputError, SpecError, UsageError
from mantrap.evade import AdversarialPatch, Bim, Ddn, DeepFool, Fgsm, Pgd, WorstCase
from mantrap.evade.transformations import Blur, Jpeg, RandomResize
from mantrap.records import AimedAt, EvadeRecord
from mantrap.workflow import led_astray
from mantrap.workflow.evade import evade
from tests.cleansing import stable
from tests.evading import TWO, behind, farthest, work
from tests.planted import SCALE, Planted
from tests.scans import SMALL

LEVELS = tuple(level / 255 for level in (40, 50, 54, 57, 70))


@pytest.fixture(scope="module")
def record():
    return evade(work((Fgsm(), Pgd(steps=5, step=0.5)), budgets=LEVELS))


def pixels(shown):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.png)))).astype(int)


class TestBudgets:
    def test_accuracy_is_the_share_of_images_that_lie_farther_away(self, record):
        images = TWO.images(20, "evade")
        wanted = [int((farthest(TWO, images) > eps).sum()) for eps in LEVELS]

        assert wanted[0] == 40
        assert wanted[-1] == 0
        assert len(set(wanted)) > 3
        for one in record.evasions:
            assert [budget.eps for budget in one.budgets] == list(LEVELS)
            assert [budget.accuracy.hits for budget in one.budgets] == wanted
            assert [budget.in_floats.hits for budget in one.budgets] == wanted
            assert [budget.reached.hits for budget in one.budgets] == [40 - hits for hits in wanted]
        assert [one.accuracy.hits for one in record.standing] == wanted

    def test_noise_of_the_same_size_does_nothing(self, record):
        assert all(budget.noise.hits == 40 for budget in record.evasions[0].budgets)

    def test_the_headline_names_the_worst(self, record):
        assert record.headline == (
            "Of 40 images the model gets 40 right; of those 0 are left when images may be changed by 0.2745 (linf)."
        )

    def test_confidence_is_that_of_mistakes(self, record):
        first, *_, last = record.evasions[0].budgets

        assert first.confidence is None
        assert 0.5 < last.confidence < 1

    def test_budgets_are_parts_of_the_evasions_own_where_none_are_given(self):
        (one,) = evade(work((Fgsm(eps=0.2),), each=2)).evasions

        assert [budget.eps for budget in one.budgets] == pytest.approx([0.025, 0.05, 0.1, 0.15, 0.2])
        assert one.largest == 0.2

    def test_several_evasions_of_one_budget_count_together(self):
        # One leads nowhere, for it takes a single step of a hundredth.
        lazy = Bim(steps=1, step=0.01)
        record = evade(work((lazy, Fgsm()), budgets=(0.2,)))
        lone = evade(work((Fgsm(),), budgets=(0.2,)))

        assert record.evasions[0].budgets[0].accuracy.hits == 40
        assert record.standing[0].accuracy == lone.standing[0].accuracy
        assert record.standing[0].accuracy.hits < 40
        assert (record.standing[0].evasions, lone.standing[0].evasions) == (2, 1)

    def test_what_was_found_with_a_smaller_budget_counts_for_a_larger_one(self):
        record = evade(work((Timid(),), budgets=LEVELS))

        assert [budget.accuracy.hits for budget in record.evasions[0].budgets][2:] == [40, 40, 40]
        assert [one.accuracy.hits for one in record.standing][2:] == [record.standing[1].accuracy.hits] * 3
        assert record.standing[1].accuracy.hits < 40

    def test_one_that_had_no_budget_so_small_does_not_count_there(self):
        record = evade(work((Fgsm(eps=0.08), Bim(eps=0.28))))

        assert [(one.eps, one.evasions) for one in record.standing][:4] == [(0.01, 1), (0.02, 1), (0.035, 2), (0.04, 2)]


class Timid(Fgsm):
    """An evasion that does nothing where it may do much."""

    def search(self, problem, *, rng, progress=SILENT):
        return problem.images if self.eps > LEVELS[1] else super().search(problem, rng=rng, progress=progress)


@pytest.fixture(scope="module")
def smallest():
    return evade(work((DeepFool(), Ddn())))


class TestSmallest:
    """Where the nearest other class lies is known; pictures lie at the next grey level behind it."""

    def test_it_still_misleads_as_a_picture_and_says_how_far_that_is(self, smallest):
        for one in smallest.evasions:
            assert one.smallest.reached.value == one.smallest.saved.value == 1
            assert one.budgets[-1].accuracy.hits == 0
            assert one.budgets[-1].in_floats.hits == 0
            assert one.budgets[-1].eps >= one.smallest.quartiles[2]
            assert one.budgets[0].accuracy.hits == 40
            assert all(spent.reached.hits == 40 - spent.accuracy.hits for spent in one.budgets)

    def test_how_far_images_had_to_go_is_the_distance_of_the_other_class(self, smallest):
        images = TWO.images(20, "evade")
        apart = (TWO.templates[0] - TWO.templates[1]).flatten().double()
        wanted = np.quantile(farthest(TWO, images) * float(apart.abs().sum() / apart.norm()), [0.25, 0.5, 0.75])

        assert smallest.evasions[1].smallest.quartiles == pytest.approx(wanted, rel=0.05)

    def test_several_count_together_where_none_has_a_budget(self, smallest):
        largest = max(one.budgets[-1].eps for one in smallest.evasions)

        assert [(one.norm, one.evasions) for one in smallest.standing] == [("l2", 2)] * 5
        assert [one.eps for one in smallest.standing] == pytest.approx(
            [k * largest for k in (0.125, 0.25, 0.5, 0.75, 1)]
        )
        assert smallest.standing[-1].accuracy.hits == 0
        assert smallest.headline.endswith("(l2).")

    def test_beside_a_budget_it_counts_where_its_way_is_short_enough(self):
        record = evade(work((Fgsm(norm="l2"), Ddn()), budgets=(1.5, 2.0, 5.0)))

        for one in record.standing:
            assert one.evasions == 2
            assert one.accuracy.hits <= record.evasions[0].budgets[0].accuracy.hits


class TestPatch:
    def test_its_budget_is_the_share_of_the_picture_that_it_covers(self):
        patch = AdversarialPatch(size=(8, 8))
        record = evade(work((Fgsm(), patch), budgets=(0.2,)))
        one = record.evasions[1]

        assert one.norm == "area"
        assert [budget.eps for budget in one.budgets] == [1.0]
        assert one.largest == 1.0
        assert one.smallest is None
        assert one.budgets[0].accuracy.hits == 20  # painted over, all images are taken for one class
        assert [(each.norm, each.evasions) for each in record.standing] == [("area", 1), ("linf", 1)]

    def test_the_headline_says_that_it_paints(self):
        record = evade(work((AdversarialPatch(size=(8, 4)),), each=2))

        assert record.headline.endswith("are left when 50.0 % of each may be painted over.")


def test_a_single_image_is_enough():
    image = TWO.images(20, "evade").subset([0])
    record = evade(work(images=image, budgets=(0.3,)))

    assert record.headline == (
        "Of 1 image the model gets 1 right; of those 0 are left when images may be changed by 0.3 (linf)."
    )
    assert not any(caution.raised for caution in record.cautions)
    assert (len(record.evasions[0].examples), len(record.sweeps)) == (1, 1)


class TestPictures:
    def test_they_are_what_a_file_holds_and_keep_to_the_budget(self, record):
        for one in record.evasions:
            assert all(budget.beyond == 0 for budget in one.budgets)
            assert len(one.examples) == 4
            for example in one.examples:
                change = pixels(example.after) - pixels(example.before)
                assert np.abs(change).max() == 70
                assert example.size == pytest.approx(70 / 255)

    def test_the_change_is_magnified_until_it_can_be_seen(self, record):
        example = record.evasions[0].examples[0]
        shown = pixels(example.change)

        assert example.times == pytest.approx(0.5 * 255 / 70)
        assert {shown.min(), shown.max()} == {0, 255}

    def test_answers_stand_beside_them(self, record):
        example = record.evasions[0].examples[0]

        assert example.source.class_name == example.true_class == "0"
        assert example.outcome.class_name == "1"


class TestWrongAnswers:
    def test_images_that_the_model_gets_wrong_are_wrong_throughout_and_left_alone(self):
        images = TWO.images(20, "evade")
        labels = images.labels.clone()
        labels[:10] = 1 - labels[:10]
        record = evade(work(images=images.with_labels(labels), budgets=(0.01,)))

        assert record.accuracy.hits == record.data.right == 30
        assert record.evasions[0].budgets[0].accuracy.hits == 30
        assert record.evasions[0].budgets[0].accuracy.total == 40
        assert record.evasions[0].budgets[0].reached.total == 30
        assert [example.number for example in record.evasions[0].examples] == [10, 11, 12, 13]
        assert {cost.stage: cost.backward for cost in record.cost}["fgsm"] == 30

    def test_where_it_gets_none_right_that_is_one_clear_error(self):
        images = TWO.images(5, "evade")
        with pytest.raises(UsageError, match=r"expected a model that gets an image of .* right, got none"):
            evade(work(images=images.with_labels(1 - images.labels)))


class TestAim:
    def test_images_are_led_to_a_class_that_is_drawn_for_each(self):
        record = evade(work((Bim(eps=0.45),), planted=SMALL, aim=AimedAt.RANDOM, budgets=(0.45,)))
        (one,) = record.evasions

        assert record.aim is AimedAt.RANDOM
        assert one.budgets[0].reached.value == 1
        assert len({example.outcome.label for example in one.examples}) > 1

    def test_away_leads_to_the_nearest(self):
        away = evade(work((Bim(eps=0.45),), planted=SMALL, budgets=(0.2,)))
        drawn = evade(work((Bim(eps=0.45),), planted=SMALL, aim=AimedAt.RANDOM, budgets=(0.2,)))

        assert away.evasions[0].budgets[0].reached.hits > drawn.evasions[0].budgets[0].reached.hits


class TestBehind:
    """What was made for the bare model is blurred away for the most part, what knows of the blur is not."""

    def test_it_is_attacked_through_and_what_was_made_without_it_stands_beside_that(self):
        record = evade(work((Bim(),), budgets=(0.02, 0.2), transformation=Blur(sigma=0.7)))
        small, large = record.evasions[0].budgets

        assert record.transformation == "blur(sigma=0.7)"
        assert small.accuracy.hits == small.unaware.hits == record.accuracy.hits == 40
        assert large.accuracy.hits < 5
        assert large.unaware.hits > 25

    def test_without_one_there_is_nothing_to_be_unaware_of(self):
        (budget,) = evade(work((Fgsm(),), budgets=(0.1,), each=2)).evasions[0].budgets

        assert budget.unaware is None

    def test_what_draws_is_measured_with_other_draws_than_evasions_see(self, monkeypatch):
        asked = []
        search = Fgsm.search
        monkeypatch.setattr(Fgsm, "search", lambda self, task, **k: asked.append(task.model) or search(self, task, **k))
        record = evade(work((Fgsm(),), budgets=(0.1,), each=3, transformation=RandomResize()))

        assert record.transformation == "random_resize"
        assert len(asked) == 2  # behind it, and bare
        assert len(asked[0].module._streams) == 8


class TestAround:
    def test_a_linear_model_moves_as_its_gradient_foretells(self, record):
        linear = record.linear
        apart = (TWO.templates[0] - TWO.templates[1]).abs().sum() * SCALE / (64 * TWO.amplitude)

        assert linear.values == 64
        assert linear.slope == pytest.approx(float(apart) / 64, rel=1e-5)
        assert len(linear.steps) == 7
        for step in linear.steps:
            assert step.foretold == pytest.approx(step.eps * float(apart), rel=1e-4)
            assert step.happened == pytest.approx(step.foretold, rel=1e-3)

    def test_its_logits_are_straight_lines(self, record):
        for sweep in record.sweeps:
            assert sweep.eps[0] == -sweep.eps[-1] == -0.5
            assert [one.label for one in sweep.logits] == [sweep.label, 1 - sweep.label]
            own, other = (one.values for one in sweep.logits)
            for line in (own, other):
                assert np.diff(line) == pytest.approx([np.diff(line)[0]] * 40, rel=1e-3)
            assert own[0] > own[-1]
            assert own[20] > other[20]
            assert own[-1] < other[-1]

    def test_classes_of_one_name_are_told_apart_and_few_of_many_are_kept(self):
        many = Planted(shape=(1, 8, 8), classes=30)
        images = many.images(2, "evade").renamed(tuple(f"{k // 2}" for k in range(30)))
        for sweep in evade(work(planted=many, images=images, budgets=(0.1,))).sweeps:
            own = sweep.logits[0]

            assert (own.label, own.class_name) == (sweep.label, sweep.true_class)
            assert len({one.label for one in sweep.logits}) == len(sweep.logits) <= 9
            assert max(sweep.logits, key=lambda one: one.values[-1]) is sweep.logits[1]
            assert own.values[20] == max(one.values[20] for one in sweep.logits)

    def test_what_rounds_is_never_shown_pixels_beyond_their_range(self):
        record = evade(work(budgets=(0.1,), each=3, transformation=Jpeg(quality=95)))
        own, other = (np.asarray(one.values) for one in record.sweeps[0].logits)

        assert (
            (own - other)[0] > 0 > (own - other)[-1]
        )  # far along the gradient the other class wins, not the other way

    def test_a_model_without_a_gradient_has_neither(self):
        record = evade(work((Deaf(),), model=behind(torch.Tensor.detach)))

        assert record.linear is None
        assert record.sweeps == ()


def killed(*_, **__):
    raise KeyboardInterrupt


class Deaf(Fgsm):
    """An evasion that asks for no gradient and changes nothing."""

    needs_gradients = False

    def search(self, problem, *, rng, progress=SILENT):
        del rng, progress
        return problem.images


class TestFolder:
    def test_a_finished_run_is_not_done_again(self, tmp_path, monkeypatch):
        first = evade(work(each=3), tmp_path)
        monkeypatch.setattr(Classifier, "logits", None)

        assert evade(work(each=3), tmp_path) == first
        assert EvadeRecord.from_json((tmp_path / "evade.json").read_text()) == first

    def test_a_killed_run_goes_on_and_comes_to_the_same(self, tmp_path, monkeypatch):
        evasions, searched = (Fgsm(), Bim(steps=2)), []
        whole = evade(work(evasions))
        with monkeypatch.context() as patched:
            patched.setattr(Bim, "search", killed)
            with pytest.raises(KeyboardInterrupt):
                evade(work(evasions), tmp_path)
        search = Fgsm.search
        monkeypatch.setattr(Fgsm, "search", lambda self, problem, **_: searched.append(self) or search(self, problem))

        assert stable(evade(work(evasions), tmp_path)) == stable(whole)
        assert not searched

    def test_an_evasion_whose_spec_is_longer_than_a_files_name_may_be(self, tmp_path):
        many = WorstCase(of=tuple(f"bim(steps=1, step=0.{k}{'1' * 12})" for k in range(1, 10)))

        assert evade(work((many,), each=2, budgets=(0.1,)), tmp_path).evasions[0].budgets[0].eps == 0.1

    def test_pieces_of_other_sizes_are_not_mistaken_for_ones_own(self, tmp_path, monkeypatch):
        with monkeypatch.context() as patched:
            patched.setattr(led_astray, "fitting_batch", lambda _: 15)
            patched.setattr(Bim, "search", killed)
            with pytest.raises(KeyboardInterrupt):
                evade(work((Fgsm(), Bim(steps=2))), tmp_path)
        record = evade(work((Fgsm(), Bim(steps=2))), tmp_path)

        assert [budget.reached.total for budget in record.evasions[0].budgets] == [40] * 5
        assert record.evasions == evade(work((Fgsm(), Bim(steps=2)))).evasions

    def test_the_folder_of_another_run_is_left_alone(self, tmp_path):
        evade(work(each=3), tmp_path)
        with pytest.raises(OutputError, match="the run of another budgets"):
            evade(work(each=3, budgets=(0.1,)), tmp_path)

    def test_the_same_seed_gives_the_same_record(self):
        assert stable(evade(work((Pgd(steps=2),)))) == stable(evade(work((Pgd(steps=2),))))


class TestBadInput:
    def test_images_without_labels(self):
        with pytest.raises(DataError, match="labels"):
            work(images=TWO.images(3, "evade").unlabelled())

    def test_images_of_another_shape(self):
        with pytest.raises(DataError, match=r"expected images of shape \(1, 8, 8\)"):
            work(images=SMALL.images(3, "evade"))

    @pytest.mark.parametrize(("evasions", "got"), [((), "none"), ((Fgsm(), Fgsm(eps=0.25)), "fgsm, fgsm")])
    def test_no_evasion_or_one_twice(self, evasions, got):
        with pytest.raises(UsageError, match=f"one evasion or more, each once, got {got}"):
            work(evasions)

    def test_a_target_for_one_that_cannot_aim(self):
        class Lame(Fgsm):
            aims = False

        with pytest.raises(UsageError, match="evasions that can lead to a given class, got fgsm"):
            work((Lame(),), aim=AimedAt.RANDOM)

    @pytest.mark.parametrize("eps", [0.0, -0.1, 1.5])
    def test_a_budget_that_it_cannot_have(self, eps):
        with pytest.raises(SpecError, match="eps"):
            work(budgets=(eps,))
