"""A poisoned set differs from the clean one exactly where the truth says, and nowhere else."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import DataError, UsageError
from mantrap.models import wrap
from mantrap.poison import AllToOne, CleanLabel, Exactly, Patch, Poison, RandomShare, SourceSpecific, apply_all

PATCH = Patch(size=2, margin=0, colour="black")
QUARTER = RandomShare(rate=0.25)
PLAN = Poison(trigger=PATCH, selection=QUARTER, relabelling=AllToOne(target=1))
LABELS = torch.arange(24) % 3

of_each_type = pytest.mark.parametrize("dtype", [torch.uint8, torch.float32], ids=str)


def clean(dtype=torch.uint8):
    floats = torch.rand(24, 3, 6, 5, generator=torch.Generator().manual_seed(0)) * 0.9 + 0.05
    pixels = (floats * 255).round().byte() if dtype == torch.uint8 else floats
    return ImageSet.from_array(pixels, LABELS, class_names=("a", "b", "c"), name="toy")


def changed(data, poisoned):
    """Indices of the images whose pixels differ."""
    apart = (data.images() != poisoned.images()).flatten(1).any(1)
    return torch.nonzero(apart).flatten().tolist()


@dataclass(frozen=True, kw_only=True)
class Noise:
    """A trigger that varies from image to image."""

    name: ClassVar[str] = "noise"

    def __call__(self, images, *, rng):
        return torch.rand(images.shape, generator=rng.torch())


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A trigger that is learned: the mean of the images, the number of the target, and a random place."""

    name: ClassVar[str] = "mean"

    weight: float = 1.0

    def restore(self, tensors):
        row = int(tensors["row"])

        def put(images, *, rng):
            del rng
            images = images.clone()
            images[:, :, row] = (self.weight * tensors["mean"]).clamp(0, 1).to(images)
            return images

        return put

    def learn(self, images, *, model, target, rng, progress=None):
        del progress
        if model is None:
            raise UsageError(expected="a model", got="none", remedy="Give one.")
        row = torch.randint(6, (1,), generator=rng.torch())
        return {"mean": images.images().mean(), "row": row, "target": torch.tensor(target)}


@dataclass(frozen=True, kw_only=True)
class Negative:
    """A preparation that looks at labels and model as well: the negative of an image, darkened by its label."""

    name: ClassVar[str] = "negative"

    def prepare(self, images, labels, *, model, rng):
        assert model is None
        assert isinstance(rng, Rng)
        return (1 - images) * (1 - 0.1 * labels.view(-1, 1, 1, 1))


MODEL = wrap(torch.nn.Flatten(), input_shape=(3, 6, 5), num_classes=90)


@of_each_type
def test_the_truth_lists_exactly_what_was_changed(dtype):
    data = clean(dtype)
    poisoned, truth = (result := PLAN.apply(data, rng=Rng(3))).data, result.truth
    (backdoor,) = truth.backdoors
    chosen = list(backdoor.poisoned)
    others = [i for i in range(24) if i not in chosen]
    assert len(chosen) == 6
    assert backdoor.covers == ()
    assert changed(data, poisoned) == chosen
    assert torch.equal(poisoned.labels[others], LABELS[others])
    assert [i for i in range(24) if poisoned.labels[i] != LABELS[i]] == chosen
    assert poisoned.labels[chosen].tolist() == [1] * 6
    assert result.tensors == {}


@of_each_type
def test_stamping_while_reading_is_stamping_beforehand(dtype):
    data = clean(dtype)
    result = PLAN.apply(data, rng=Rng(3))
    eager = data.images()
    chosen = list(result.truth.backdoors[0].poisoned)
    eager[chosen] = PATCH(eager[chosen], rng=Rng(0))
    torch.testing.assert_close(result.data.images(), eager, atol=1e-7, rtol=0)
    assert result.data.source.read(range(24)).dtype == dtype
    for order in ([5, 3, 3, 0], range(2, 9), chosen[:1]):
        assert torch.equal(result.data.images(order), result.data.images()[list(order)])
    assert torch.equal(torch.cat([b.images for b in result.data.batches(7)]), result.data.images())


def test_a_grey_of_eight_bits_is_rounded():
    plan = Poison(trigger=Patch(size=2, margin=0, colour=0.25), selection=QUARTER, relabelling=PLAN.relabelling)
    result = plan.apply(clean(), rng=Rng(0))
    (stamped,) = result.data.source.read(result.truth.backdoors[0].poisoned[:1])
    assert stamped[:, 4:, 3:].unique().tolist() == [64]


def test_the_set_that_comes_in_is_unchanged():
    data = clean()
    digest, labels = data.digest(), data.labels.clone()
    PLAN.apply(data, rng=Rng(0)).data.images()
    assert torch.equal(data.labels, labels)
    assert ImageSet.from_array(data.source.pixels, data.labels).digest() == digest


def test_names_stay_and_the_truth_says_how_it_was_done():
    data = clean()
    result = PLAN.apply(data, rng=Rng(3))
    truth, (backdoor,) = result.truth, result.truth.backdoors
    assert (result.data.name, result.data.class_names) == ("toy", ("a", "b", "c"))
    assert backdoor.trigger == backdoor.training_trigger == "patch(size=2, margin=0, colour='black')"
    assert (backdoor.selection, backdoor.relabelling) == ("random_share(rate=0.25)", "all_to_one(target=1)")
    assert (backdoor.target, truth.seed) == (1, 3)
    assert truth.attack == str(PLAN) == f"{backdoor.trigger}, {backdoor.selection}, {backdoor.relabelling}"
    assert truth.clean_digest == data.digest()
    assert truth.poisoned_digest == result.data.digest() != truth.clean_digest
    assert type(truth).from_json(truth.to_json()) == truth


@pytest.mark.parametrize("trigger", [PATCH, Noise()], ids=["patch", "noise"])
def test_the_same_seed_poisons_alike_and_another_one_does_not(trigger):
    plan = Poison(trigger=trigger, selection=QUARTER, relabelling=AllToOne(target=1))
    first, second, third = (plan.apply(clean(), rng=Rng(seed)) for seed in (0, 0, 1))
    assert first.truth == second.truth
    assert torch.equal(first.data.images(), second.data.images())
    assert first.truth.backdoors[0].poisoned != third.truth.backdoors[0].poisoned


def test_a_trigger_that_varies_gives_an_image_the_same_in_every_batch():
    plan = Poison(trigger=Noise(), selection=QUARTER, relabelling=AllToOne(target=1))
    result = plan.apply(clean(), rng=Rng(0))
    first, second = result.truth.backdoors[0].poisoned[:2]
    together, alone = result.data.images([first, second]), result.data.images([second])
    assert torch.equal(together[1], alone[0])
    assert not torch.equal(together[0], together[1])


class TestCovers:
    def test_covers_carry_the_trigger_and_keep_their_label(self):
        plan = Poison(
            trigger=PATCH,
            selection=Exactly(count=3),
            relabelling=SourceSpecific(target=1, sources=(2,)),
            cover=RandomShare(rate=0.25),
        )
        data = clean()
        result = plan.apply(data, rng=Rng(1))
        (backdoor,) = result.truth.backdoors
        chosen, covers = list(backdoor.poisoned), list(backdoor.covers)
        assert (len(chosen), len(covers)) == (3, 6)  # of all 24, not of the 8 that may cover
        assert LABELS[chosen].tolist() == [2] * 3
        assert LABELS[covers].tolist() == [0] * 6
        assert changed(data, result.data) == sorted(chosen + covers)
        assert result.data.labels[chosen].tolist() == [1] * 3
        assert result.data.labels[covers].tolist() == [0] * 6
        assert torch.equal(result.data.images(covers)[..., 4:, 3:], torch.zeros(6, 3, 2, 2))

    def test_an_image_is_poisoned_or_a_cover_but_not_both(self):
        plan = Poison(trigger=PATCH, selection=Exactly(count=8), relabelling=CleanLabel(), cover=Exactly(count=16))
        (backdoor,) = plan.apply(clean(), rng=Rng(0)).truth.backdoors
        assert sorted((*backdoor.poisoned, *backdoor.covers)) == list(range(24))
        assert LABELS[list(backdoor.poisoned)].tolist() == [0] * 8


def test_a_clean_label_rate_counts_within_the_target_class_and_no_label_changes():
    plan = Poison(trigger=PATCH, selection=RandomShare(rate=0.5), relabelling=CleanLabel(target=2))
    data = clean()
    result = plan.apply(data, rng=Rng(0))
    chosen = result.truth.backdoors[0].poisoned
    assert len(chosen) == 4  # half of the 8 images of class 2
    assert LABELS[list(chosen)].tolist() == [2] * 4
    assert torch.equal(result.data.labels, LABELS)
    assert changed(data, result.data) == list(chosen)


class TestSeveral:
    FIRST = Poison(trigger=PATCH, selection=Exactly(count=6), relabelling=AllToOne(target=1))
    SECOND = Poison(
        trigger=Patch(size=1, margin=0, place="top_left"),
        selection=Exactly(count=8),
        relabelling=AllToOne(target=0),
        cover=Exactly(count=4),
    )

    def test_no_image_carries_two_and_each_has_the_label_of_its_own(self):
        data = clean()
        result = apply_all(data, (self.FIRST, self.SECOND), attack="two", rng=Rng(0))
        first, second = result.truth.backdoors
        carriers = [*first.poisoned, *second.poisoned, *second.covers]
        assert len(set(carriers)) == len(carriers) == 18
        assert changed(data, result.data) == sorted(carriers)
        assert result.data.labels[list(first.poisoned)].tolist() == [1] * 6
        assert result.data.labels[list(second.poisoned)].tolist() == [0] * 8
        assert torch.equal(result.data.labels[list(second.covers)], LABELS[list(second.covers)])
        assert result.data.images(second.poisoned)[:, :, 0, 0].unique().tolist() == [1.0]
        assert torch.equal(result.data.images(first.poisoned)[:, :, 0, 0], data.images(first.poisoned)[:, :, 0, 0])
        assert result.truth.attack == "two"

    def test_the_first_is_the_same_whatever_follows(self):
        alone = apply_all(clean(), (self.FIRST,), attack="one", rng=Rng(0))
        followed = apply_all(clean(), (self.FIRST, self.SECOND), attack="two", rng=Rng(0))
        assert followed.truth.backdoors[0] == alone.truth.backdoors[0]
        assert self.FIRST.apply(clean(), rng=Rng(0)).truth.backdoors == alone.truth.backdoors
        chosen = alone.truth.backdoors[0].poisoned
        assert torch.equal(alone.data.images(chosen), followed.data.images(chosen))

    def test_twins_draw_from_streams_of_their_own(self):
        varied = Poison(trigger=Noise(), selection=Exactly(count=6), relabelling=AllToOne(target=1))
        result = apply_all(clean(), (varied, varied), attack="twins", rng=Rng(0))
        (first, second), (alone,) = result.truth.backdoors, varied.apply(clean(), rng=Rng(0)).truth.backdoors
        # Drawn in the stream of the first they would be the same places of a list that lacks the first's choice.
        left = [i for i in AllToOne(target=1).eligible(LABELS) if i not in first.poisoned]
        assert list(second.poisoned) != Exactly(count=6).choose(left, total=24, rng=Rng(0).child("selection"))
        assert first == alone

    def test_what_is_taken_is_not_there_for_the_next(self):
        greedy = Poison(trigger=PATCH, selection=Exactly(count=16), relabelling=AllToOne(target=1))
        with pytest.raises(UsageError, match=r"images that all_to_one\(target=1\) may poison, got none that is left"):
            apply_all(clean(), (greedy, self.FIRST), attack="two", rng=Rng(0))
        with pytest.raises(UsageError, match="a count of at most 10"):
            apply_all(clean(), (self.FIRST, greedy), attack="two", rng=Rng(0))


class TestLearned:
    PLAN = Poison(trigger=Mean(), selection=QUARTER, relabelling=AllToOne(target=2))

    @of_each_type
    def test_it_learns_from_the_clean_set_and_its_tensors_make_it_again(self, dtype):
        data = clean(dtype)
        result = self.PLAN.apply(data, model=MODEL, rng=Rng(0))
        assert sorted(result.tensors) == ["0.mean", "0.row", "0.target"]
        assert torch.equal(result.tensors["0.mean"], data.images().mean())
        assert int(result.tensors["0.target"]) == 2
        again = Mean().restore({name.removeprefix("0."): t for name, t in result.tensors.items()})
        chosen = result.truth.backdoors[0].poisoned
        expected = again(data.images(chosen), rng=Rng(0))
        torch.testing.assert_close(result.data.images(chosen), expected, atol=0.51 / 255, rtol=0)
        assert result.truth.backdoors[0].trigger == "mean"

    def test_each_backdoor_has_its_own_tensors_by_number(self):
        other = Poison(trigger=Mean(weight=0.5), selection=QUARTER, relabelling=AllToOne(target=0))
        result = apply_all(clean(), (PLAN, self.PLAN, other), attack="three", model=MODEL, rng=Rng(0))
        assert sorted(result.tensors) == [f"{n}.{name}" for n in (1, 2) for name in ("mean", "row", "target")]
        assert [int(result.tensors[f"{n}.target"]) for n in (1, 2)] == [2, 0]

    def test_the_tensors_are_those_of_the_trigger_that_the_attack_is_used_with(self):
        plan = Poison(trigger=Mean(weight=0.5), selection=QUARTER, relabelling=AllToOne(target=1), test_trigger=Mean())
        result = plan.apply(clean(), model=MODEL, rng=Rng(0))
        (backdoor,) = result.truth.backdoors
        assert (backdoor.training_trigger, backdoor.trigger) == ("mean(weight=0.5)", "mean")
        row, mean = int(result.tensors["0.row"]), float(result.tensors["0.mean"])
        carried = result.data.images(backdoor.poisoned)[:, :, row]
        torch.testing.assert_close(carried, torch.full_like(carried, mean / 2), atol=0.51 / 255, rtol=0)

    def test_the_model_that_it_needs_is_asked_for(self):
        with pytest.raises(UsageError, match="a model, got none"):
            self.PLAN.apply(clean(), rng=Rng(0))


def test_the_trigger_at_test_time_is_in_the_truth_and_on_no_training_image():
    strong = Patch(size=4, margin=0)
    plan = Poison(trigger=PATCH, selection=QUARTER, relabelling=AllToOne(target=1), test_trigger=strong)
    result, weak = plan.apply(clean(), rng=Rng(0)), PLAN.apply(clean(), rng=Rng(0))
    assert result.data.digest() == weak.data.digest()
    (backdoor,) = result.truth.backdoors
    assert backdoor.trigger == "patch(margin=0)"
    assert backdoor.training_trigger == weak.truth.backdoors[0].trigger
    assert result.tensors == {}


@of_each_type
@pytest.mark.parametrize("batch", [3, 128])
def test_chosen_images_are_prepared_and_then_stamped_and_covers_are_not(dtype, batch, monkeypatch):
    monkeypatch.setattr("mantrap.poison.poison._BATCH", batch)
    plan = Poison(
        trigger=PATCH,
        selection=Exactly(count=7),
        relabelling=AllToOne(target=0),
        cover=Exactly(count=5),
        preparation=Negative(),
    )
    data = clean(dtype)
    result = plan.apply(data, rng=Rng(0))
    (backdoor,) = result.truth.backdoors
    chosen, covers = list(backdoor.poisoned), list(backdoor.covers)
    expected = data.images()
    expected[chosen] = (1 - expected[chosen]) * (1 - 0.1 * LABELS[chosen].view(-1, 1, 1, 1))
    expected[chosen + covers] = PATCH(expected[chosen + covers], rng=Rng(0))
    torch.testing.assert_close(result.data.images(), expected, atol=0.51 / 255 * (dtype == torch.uint8), rtol=0)
    assert result.data.source.read(chosen).dtype == dtype


def test_images_without_labels_are_refused():
    with pytest.raises(DataError, match="labels for toy, got none"):
        PLAN.apply(clean().unlabelled(), rng=Rng(0))


@pytest.mark.parametrize(
    ("trigger", "selection", "relabelling", "got"),
    [
        (PATCH, RandomShare(), AllToOne(target=3), "a target from 0 to 2, got 3"),
        (PATCH, RandomShare(), CleanLabel(target=3), "a target from 0 to 2, got 3"),
        (PATCH, RandomShare(), SourceSpecific(sources=(4,)), "a source from 0 to 2, got 4"),
        (Patch(size=9), RandomShare(), AllToOne(), "fits into 6x5 pixels"),
        (PATCH, RandomShare(rate=0.9), AllToOne(), "selects 1 to 16 of 24"),
        (PATCH, RandomShare(rate=0.05), CleanLabel(), "selects 1 to 8 of 8 images, got 0.05, which selects 0"),
    ],
)
def test_what_does_not_fit_the_set_is_refused_at_once(trigger, selection, relabelling, got):
    with pytest.raises(UsageError, match=got):
        Poison(trigger=trigger, selection=selection, relabelling=relabelling).apply(clean(), rng=Rng(0))


@pytest.mark.parametrize("relabelling", [CleanLabel(target=3), SourceSpecific(sources=(3,))], ids=str)
def test_a_class_of_which_there_is_no_image_is_named(relabelling):
    four = clean().renamed(("a", "b", "c", "d"))
    with pytest.raises(UsageError, match=rf"images that {relabelling.name}\(.*3.*\) may poison, got none"):
        Poison(trigger=PATCH, selection=RandomShare(), relabelling=relabelling).apply(four, rng=Rng(0))


def test_covers_that_there_are_none_for_are_named():
    two = clean().with_labels(LABELS % 2).renamed(("a", "b"))
    plan = Poison(trigger=PATCH, selection=QUARTER, relabelling=SourceSpecific(), cover=RandomShare())
    with pytest.raises(UsageError, match=r"images that may cover source_specific, got none"):
        plan.apply(two, rng=Rng(0))
