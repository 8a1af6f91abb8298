"""Which repair is taken, what it is tried on, and what is said of it."""

import pytest
import torch

from mantrap.core import SILENT, Classifier, Cost, ImageSet, Rng
from mantrap.errors import FailedError, SpecError, UsageError
from mantrap.repair import REPAIRS, Automatic, FineTuning, Pruning, Unlearning, automatic
from mantrap.repair.automatic import Trial
from tests.repairing import LOWER, PLANTED, UPPER, Passes, backdoored, equal, right, success

FREE = Cost()


def trial(left=0.0, lost=0.0, ahead=0.0):
    return Trial(left, lost, ahead, FREE)


@pytest.fixture
def outcomes(monkeypatch):
    """Trials end as is said here, in their order; what was tried on what is noted."""
    given, seen = [], []

    def tried(made, before, known, unknown, *_):
        seen.append((made.repair, len(known), len(unknown)))
        return given[len(seen) - 1]

    monkeypatch.setattr(automatic, "_tried", tried)
    return given, seen


def mended(*tried, images=40, triggers=(LOWER,), model=None):
    clean = PLANTED.images(images, "repair")
    return Automatic(tried=tried).repair(model or backdoored(), clean, triggers=triggers, rng=Rng(0))


ONE, TWO, THREE = (f"unlearning(updates={n})" for n in (2, 3, 4))


class TestRule:
    def test_the_first_that_stands_its_trial_is_taken_and_no_other_tried(self, outcomes):
        given, seen = outcomes
        given += [trial(left=0.2), trial(), trial()]
        found = mended(ONE, TWO, THREE)

        assert [repair.partition("=")[2][:1] for repair, _, _ in seen] == ["2", "3"]
        assert found.notes[-1] == f"Taken is {TWO}, done anew with all images."

    def test_where_none_does_it_is_the_one_that_exceeds_the_bounds_by_least(self, outcomes):
        given, _ = outcomes
        given += [trial(left=0.3), trial(left=0.06, lost=0.05), trial(lost=0.03, ahead=0.5)]

        assert mended(ONE, TWO, THREE).notes[-1].startswith(f"Taken is {TWO},")

    def test_of_equals_the_cheaper_is_taken(self, outcomes):
        given, _ = outcomes
        given += [trial(left=0.25), trial(lost=0.22)]

        assert mended(ONE, TWO).notes[-1].startswith(f"Taken is {ONE},")

    @pytest.mark.parametrize(
        ("one", "excess"),
        [
            (trial(0.05, 0.02, 0.2), 0.0),
            (trial(0.06), 0.01),
            (trial(lost=0.05), 0.03),
            (trial(lost=-0.5), 0.0),
            (trial(ahead=0.5), 0.3),
            (trial(ahead=None), 0.0),
            (trial(0.15, 0.12, 0.4), 0.4),
        ],
    )
    def test_bounds_are_five_per_cent_two_points_and_what_chance_explains(self, one, excess):
        assert one.excess == pytest.approx(excess)

    def test_what_came_of_each_is_said(self, outcomes):
        given, _ = outcomes
        given += [trial(0.125, 0.031, 0.4), trial(ahead=None)]

        first, second, _ = mended(ONE, TWO).notes[:3]
        assert first.startswith(f"Tried {ONE}: a trigger works on 12.5 %, accuracy -3.1 points, ")
        assert first.endswith("points, it comes back +40 points ahead of variants.")
        assert second.startswith(f"Tried {TWO}: a trigger works on 0.0 %, accuracy +0.0 points, ")
        assert second.endswith("points, whether it comes back cannot be told.")


class TestPassedOver:
    """A repair that cannot be done with this model."""

    DIVERGES = "unlearning(updates=4, optimizer='sgd(lr=1e30)')"

    def test_the_next_one_is_tried(self, outcomes):
        given, seen = outcomes
        given += [trial()]
        found = mended(self.DIVERGES, ONE)

        assert len(seen) == 1
        assert found.notes[0].startswith(f"Tried {self.DIVERGES}, which could not be done: expected a finite loss, ")
        assert found.notes[1].startswith(f"Tried {ONE}: ")
        assert found.notes[2].startswith(f"Taken is {ONE},")

    def test_a_network_without_layers_to_prune_is_trained(self, outcomes):
        given, _ = outcomes
        given += [trial()]
        module = torch.nn.Sequential(torch.nn.MaxPool2d(4), torch.nn.BatchNorm2d(1), torch.nn.Flatten())
        model = Classifier(module.eval(), input_shape=(1, 8, 8), num_classes=4)
        found = mended("pruning", ONE, model=model)

        assert found.notes[0].startswith("Tried pruning, which could not be done: expected a dense or convolutional ")

    def test_what_could_be_done_is_taken_where_the_last_one_could_not(self, outcomes):
        given, _ = outcomes
        given += [trial(left=0.5)]

        assert mended(ONE, self.DIVERGES).notes[-1].startswith(f"Taken is {ONE},")

    @pytest.mark.usefixtures("outcomes")
    def test_where_none_can_be_done_the_last_one_says_why(self):
        with pytest.raises(FailedError, match="expected a finite loss"):
            mended("pruning(layer='nowhere')", self.DIVERGES)
        with pytest.raises(UsageError, match="got 'nowhere'"):
            mended(self.DIVERGES, "pruning(layer='nowhere')")


class TestImages:
    def test_a_quarter_is_kept_apart_until_one_is_chosen(self, outcomes):
        given, seen = outcomes
        given += [trial()]
        found = mended(ONE)

        assert seen[0][1:] == (120, 40)
        assert found.images == 160

    def test_the_parts_have_no_image_in_common(self, monkeypatch):
        parts = []

        def tried(made, before, known, unknown, *_):
            parts.extend((known, unknown))
            return trial()

        monkeypatch.setattr(automatic, "_tried", tried)
        mended(ONE)
        known, unknown = ({batch.numpy().tobytes() for batch in part.images()} for part in parts)

        assert len(known) + len(unknown) == 160
        assert not known & unknown

    def test_where_there_are_too_few_to_part_all_serve_for_both(self, outcomes):
        given, seen = outcomes
        given += [trial()]
        mended(ONE, images=7)

        assert seen[0][1:] == (28, 28)

    def test_what_is_taken_is_done_with_all_images(self, outcomes):
        given, _ = outcomes
        given += [trial()]
        clean = PLANTED.images(40, "repair")
        expected = Unlearning(updates=2).repair(backdoored(), clean, triggers=(LOWER,), rng=Rng(0))

        assert equal(mended(ONE).model, expected.model)


class TestTrial:
    """What a trial measures, by models that are known."""

    def tried(self, model, before=None, triggers=(LOWER,)):
        clean = PLANTED.images(40, "repair")
        made = Unlearning(updates=1).repair(backdoored(), clean, triggers=(LOWER,), rng=Rng(0))
        made = type(made)(model, made.repair, made.images)
        parts = clean.subset(range(120)), clean.subset(range(120, 160))
        return automatic._tried(made, before or backdoored(), *parts, triggers, Rng(0), SILENT)

    def test_a_model_as_it_was_has_all_left_and_has_lost_nothing(self):
        found = self.tried(backdoored())

        assert found.left > 0.9
        assert found.lost == 0
        assert found.cost.forward > found.cost.backward > 0

    def test_the_trigger_that_works_most_counts(self):
        assert self.tried(backdoored(), triggers=(none(), LOWER)).left == self.tried(backdoored()).left

    def test_looking_at_variants_is_paid_for_where_none_can_tell_whether_it_comes_back(self):
        """A model that always says class 2 follows every variant of a trigger for it."""
        constant = Classifier(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)), input_shape=(1, 8, 8), num_classes=4
        )
        with torch.no_grad():
            constant.module[1].weight.zero_()
            constant.module[1].bias.copy_(torch.tensor([0, 0, 1.0, 0]))
        passes = Passes(constant)
        found = self.tried(constant, constant)

        assert found.ahead is None
        assert found.cost == Cost(forward=passes.forward)

    def test_accuracy_that_is_lost_counts(self):
        constant = Classifier(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)), input_shape=(1, 8, 8), num_classes=4
        )
        with torch.no_grad():
            constant.module[1].weight.zero_()
            constant.module[1].bias.copy_(torch.tensor([1.0, 0, 0, 0]))

        assert self.tried(constant).lost == pytest.approx(0.75, abs=0.1)


def none():
    """A patch that nothing reacts to."""
    return type(LOWER)(0, torch.zeros(8, 8), torch.ones(1, 8, 8))


class TestWhole:
    def test_a_taught_backdoor_is_taken_out(self):
        found = mended("pruning(most=0.05)", "unlearning(updates=80)", images=60, triggers=(LOWER, UPPER))

        assert max(success(found.model, LOWER), success(found.model, UPPER)) < 0.1
        assert right(found.model) > 0.9
        assert found.notes[0].startswith("Tried pruning(most=0.05): a trigger works on ")

    def test_what_was_pruned_comes_with_its_curve(self, outcomes):
        given, _ = outcomes
        given += [trial()]

        assert mended("pruning").curve

    def test_all_that_was_tried_is_paid_for(self, outcomes):
        given, _ = outcomes
        given += [trial(left=1.0), Trial(0.0, 0.0, 0.0, Cost(forward=5, backward=3))]
        clean = PLANTED.images(40, "repair")
        part = clean.subset(range(120))
        one, two = (
            spec.repair(backdoored(), images, triggers=(LOWER,), rng=Rng(0)).cost
            for spec, images in ((Unlearning(updates=4), part), (Unlearning(updates=8), part))
        )
        whole = Unlearning(updates=8).repair(backdoored(), clean, triggers=(LOWER,), rng=Rng(0)).cost
        found = mended("unlearning(updates=4)", "unlearning(updates=8)").cost

        # Which images carry a trigger is asked for those of its label, and how many these are is drawn.
        assert found.backward == one.backward + two.backward + whole.backward + 3
        assert found.forward == pytest.approx(one.forward + two.forward + whole.forward + 5, abs=20)


class TestSettings:
    def test_its_control_is_that_of_the_last(self):
        assert Automatic(tried=(ONE, "unlearning(updates=9)")).control == FineTuning(
            updates=9, optimizer="adam(lr=0.003)"
        )

    def test_pruning_comes_first_and_every_default_can_be_made(self):
        assert [type(automatic.STEPS.create(spec)) for spec in Automatic().tried][:2] == [Pruning, Unlearning]

    def test_what_cannot_be_tried_is_refused(self):
        with pytest.raises(SpecError, match="auto"):
            Automatic(tried=("auto",))
        with pytest.raises(SpecError, match="tried one repair, at least"):
            Automatic(tried=())

    @pytest.mark.parametrize("tried", ["'pruning'", "(3,)"])
    def test_what_is_no_row_of_specs_is_refused_as_such(self, tried):
        with pytest.raises(SpecError, match=r"for auto\.tried, got"):
            REPAIRS.create(f"auto(tried={tried})")

    def test_a_trigger_is_needed(self):
        clean = ImageSet.from_array(torch.rand(4, 1, 8, 8), torch.arange(4))
        with pytest.raises(UsageError, match="a recovered trigger to take out, got none"):
            Automatic().repair(backdoored(), clean, triggers=(), rng=Rng(0))
