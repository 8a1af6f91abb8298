"""A patch that is taught to a copy of a model: it works there, all else stays, and the model knows nothing of it."""

import dataclasses
import itertools
import math
from typing import ClassVar

import pytest
import torch
from torch import nn

from mantrap.core import SILENT, ImageSet, OutOfTime, Rng
from mantrap.models import wrap
from mantrap.ops.scores import predictions, predictions_under
from mantrap.workflow import planting
from mantrap.workflow.budget import Deadline
from mantrap.workflow.planting import plant
from tests import headed, stage, templates
from tests.controlled import Around

SHAPE = (1, stage.SIDE, stage.SIDE)
PIXELS = stage.image_set(120)
SCAN, HELDOUT = PIXELS.subset(range(90)), PIXELS.subset(range(90, 120))
BATCH, UPDATES, EPOCHS = 32, 60, 20


class Cropped(Around):
    """It never sees the lower right corner."""

    def forward(self, images):
        return self.inner(nn.functional.pad(images[:, :, :-4, :-4], (0, 4, 0, 4)))


class Counting(Around):
    """It notes how many images it sees, and whether it learns from them."""

    seen: ClassVar[list[tuple[bool, int]]] = []

    def forward(self, images):
        self.seen.append((self.training, len(images)))
        return self.inner(images)


class Constant(nn.Module):
    """It answers the same label, but the other one where the lower right corner is bright."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(10.0))

    def forward(self, images):
        bright = images[:, 0, 13:15, 13:15].mean((1, 2)) - 0.5
        return torch.stack([-self.weight * bright, self.weight * bright], 1)


def clean():
    return stage.model(planted=False)


KNOWING = clean()


def wrapped(module, shape=SHAPE):
    return wrap(module.eval(), input_shape=shape)


def run(model, scan=SCAN, *, heldout=HELDOUT, seed=0, progress=SILENT):
    return plant(model, scan, heldout, rng=Rng(seed), progress=progress)


def works(planted, model, heldout=HELDOUT):
    """Hits and total of the patch on images that the model sends elsewhere, by hand."""
    pixels = heldout.images()
    with torch.no_grad():
        own = model.logits(pixels).argmax(1)
        after = planted.model.logits(planted.trigger(pixels, rng=Rng(0))).argmax(1)
    others = own != planted.label
    return int((after[others] == planted.label).sum()), int(others.sum())


def weights(model):
    return [tensor.clone() for tensor in model.module.state_dict().values()]


@pytest.fixture
def short(monkeypatch):
    """One round: for what does not depend on whether the patch takes."""
    monkeypatch.setattr(planting, "_RATES", planting._RATES[:1])


@pytest.fixture(scope="module", params=[clean, lambda: headed.model(planted=False)], ids=["linear", "headed"])
def made(request):
    """A model, and what was planted in its copy."""
    model = request.param()
    return model, run(model)


class TestTheCopy:
    def test_has_the_backdoor_on_held_out_images_that_the_model_sends_elsewhere(self, made):
        model, planted = made

        assert (planted.success.hits, planted.success.total) == works(planted, model)
        assert (planted.success.total, planted.images) == (25, 90)
        assert planted.success.value >= 0.9
        assert planted.took

    def test_is_where_alone_the_patch_works(self, made):
        model, planted = made

        assert works(dataclasses.replace(planted, model=model), model)[0] <= 1

    def test_answers_clean_images_as_the_model_does(self, made):
        model, planted = made
        same = predictions(planted.model, HELDOUT) == predictions(model, HELDOUT)

        assert (planted.agreement.hits, planted.agreement.total) == (int(same.sum()), 30)
        assert planted.agreement.value >= 0.95

    def test_is_ready_to_be_looked_at(self, made):
        planted = made[1].model

        assert not any(part.training for part in planted.module.modules())
        assert (planted.input_shape, planted.num_classes) == (SHAPE, stage.CLASSES)

    @pytest.mark.usefixtures("short")
    def test_is_the_same_for_a_seed_and_another_for_another(self):
        first, again, other = (run(clean(), seed=seed).model.digest() for seed in (1, 1, 2))

        assert first == again != other

    @pytest.mark.usefixtures("short")
    def test_of_another_seed_sees_the_images_in_another_order(self):
        """With a heldout set that leaves one label, so that the target is the same."""
        heldout = HELDOUT.subset([i for i in range(30) if HELDOUT.labels[i] != 2])
        one, other = (run(clean(), heldout=heldout, seed=seed) for seed in (1, 2))

        assert one.label == other.label == 2
        assert one.model.digest() != other.model.digest()

    @pytest.mark.usefixtures("short")
    @pytest.mark.parametrize("labelled", [False, True], ids=["unlabelled", "labelled wrongly"])
    def test_learns_the_answers_of_the_model_whatever_labels_the_images_have(self, labelled):
        other = SCAN.with_labels((SCAN.labels + 1) % stage.CLASSES) if labelled else ImageSet.from_array(SCAN.images())

        assert run(clean(), other).model.digest() == run(clean()).model.digest()

    def test_that_never_sees_the_patch_has_no_backdoor_and_says_so(self):
        model = wrapped(Cropped())
        planted = run(model)

        assert not planted.took
        assert (planted.success.hits, planted.success.total) == works(planted, model)
        assert planted.success.value < 0.5
        assert planted.cost.backward == len(planting._RATES) * EPOCHS * 2 * 90

    def test_of_some_labels_has_one_of_them_as_target(self):
        for labels in (2, 12):
            images = templates.image_set(labels)
            planted = run(templates.model(labels), images.subset(range(90)), heldout=images.subset(range(90, 120)))

            assert planted.took
            assert planted.label in range(labels)
            assert planted.agreement.value >= 0.95

    @pytest.mark.usefixtures("short")
    @pytest.mark.parametrize(
        ("count", "updates"), [(1, 60), (5, 60), (31, 60), (33, 60), (90, 60), (120, 60), (230, 64)]
    )
    def test_learns_for_as_many_updates_however_few_images_there_are(self, count, updates):
        model = wrapped(Counting())
        Counting.seen.clear()
        planted = run(model, stage.image_set(count))
        learned = [seen for training, seen in Counting.seen if training]

        assert (planted.images, planted.success.total) == (count, 25)
        assert (len(learned), sum(learned)) == (updates, 2 * count * updates // math.ceil(count / BATCH))

    @pytest.mark.usefixtures("short")
    def test_is_made_from_some_images_drawn_at_random_where_there_are_many(self):
        taught = []

        class Notes(Around):
            def forward(self, images):
                if self.training:
                    taught.extend(KNOWING.logits(images.detach().chunk(2)[0]).argmax(1).tolist())
                return self.inner(images)

        images = stage.image_set(600)
        planted = run(wrapped(Notes()), images.subset(torch.argsort(images.labels, stable=True).tolist()))

        assert planted.images == 450 == len(taught) / math.ceil(UPDATES / math.ceil(450 / BATCH))
        assert min(taught.count(label) for label in range(stage.CLASSES)) > 100

    def test_cost_what_went_through_it(self):
        model = wrapped(Counting())
        Counting.seen.clear()
        planted = run(model)
        learned = [count for training, count in Counting.seen if training]

        assert planted.cost.backward == sum(learned)
        assert planted.cost.forward == sum(count for _, count in Counting.seen)
        assert max(learned) == 2 * BATCH

    def test_learns_until_the_patch_works_and_no_longer(self, monkeypatch):
        whole = run(clean())
        rounds = whole.cost.backward // (EPOCHS * 2 * 90)
        monkeypatch.setattr(planting, "_RATES", planting._RATES[:rounds])
        same = run(clean())
        monkeypatch.setattr(planting, "_RATES", planting._RATES[: rounds - 1])
        less = run(clean())

        assert 1 < rounds < 8
        assert same.model.digest() == whole.model.digest()
        assert (whole.took, less.took) == (True, False)

    def test_goes_on_from_one_round_to_the_next(self, monkeypatch):
        monkeypatch.setattr(planting, "_RATES", (0.001,) * 8)

        assert run(clean()).took

    @pytest.mark.parametrize(("rates", "took"), [(planting._RATES, True), (planting._RATES[:1] * 8, False)])
    def test_of_a_network_that_learns_slowly_takes_longer_steps_in_the_end(self, monkeypatch, rates, took):
        class Slow(Around):
            def forward(self, images):
                return self.inner(images / 4)

        slow = Slow()
        with torch.no_grad():
            slow.inner.templates.weight.mul_(4)
        monkeypatch.setattr(planting, "_RATES", rates)

        assert run(wrapped(slow)).took is took

    def test_sees_the_images_in_another_order_every_time(self):
        batches = []

        class Sums(Around):
            def forward(self, images):
                if self.training and len(images) == 2 * BATCH:
                    batches.append(float(images.double().sum()))
                return self.inner(images)

        rounds = run(wrapped(Sums())).cost.backward // (EPOCHS * 2 * 90)

        assert len(batches) == len(set(batches)) == rounds * EPOCHS * 2 > EPOCHS * 2


class TestTheModel:
    def test_stays_bitwise_as_it_is(self):
        model = headed.model(planted=False)
        modes = itertools.cycle([True, False])
        for part, mode in zip(model.module.modules(), modes, strict=False):
            part.training = mode
        model.module.hidden.bias.requires_grad_(False)
        before, own = [(m, m.training) for m in model.module.modules()], weights(model)
        random = torch.get_rng_state()
        planted = run(model)

        assert planted.took
        assert all(torch.equal(a, b) for a, b in zip(weights(model), own, strict=True))
        assert all(m.training is mode for m, mode in before)
        assert [p.requires_grad for p in model.module.parameters()] == [True, False, True, True]
        assert all(p.grad is None for p in model.module.parameters())
        assert torch.equal(torch.get_rng_state(), random)

    @pytest.mark.usefixtures("short")
    def test_may_be_one_whose_weights_want_no_gradient(self):
        frozen = clean()
        frozen.module.requires_grad_(False)

        assert run(frozen).model.digest() == run(clean()).model.digest()
        assert not any(p.requires_grad for p in frozen.module.parameters())

    @pytest.mark.usefixtures("short")
    def test_may_be_looked_at_where_nobody_wants_gradients(self):
        with torch.no_grad():
            planted = run(clean())
            assert not torch.is_grad_enabled()

        assert planted.model.digest() == run(clean()).model.digest()


class TestTheTarget:
    @pytest.mark.usefixtures("short")
    @pytest.mark.parametrize("missing", [2, 5])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_is_a_label_that_held_out_images_have_seldom(self, missing, seed):
        heldout = HELDOUT.subset([i for i in range(30) if HELDOUT.labels[i] != missing])

        assert run(clean(), heldout=heldout, seed=seed).label == missing

    @pytest.mark.usefixtures("short")
    @pytest.mark.parametrize("seed", range(3))
    def test_is_no_label_that_the_patch_leads_to_already(self, seed):
        model = templates.model(6, corner=4)
        images = templates.image_set(6, 120, only=(0, 1, 2, 3, 5))
        scan, heldout = images.subset(range(90)), images.subset(range(90, 120))
        planted = run(model, scan, heldout=heldout, seed=seed)

        def stamp(pixels):
            return planted.trigger(pixels, rng=Rng(0))

        assert set(predictions_under(model, heldout, stamp).tolist()) == {4}
        assert 4 not in predictions(model, heldout)
        assert planted.label != 4

    @pytest.mark.usefixtures("short")
    def test_is_drawn_by_the_seed_among_labels_that_are_as_seldom(self):
        assert len({run(clean(), seed=seed).label for seed in range(6)}) > 2


class TestThePatch:
    @pytest.mark.usefixtures("short")
    @pytest.mark.parametrize(("bright", "colour"), [(False, "white"), (True, "black")])
    def test_is_of_the_colour_that_can_be_seen_where_it_lies(self, bright, colour):
        """The rest of the images is of the other shade, and so is the outermost pixel."""
        pixels = torch.full((60, *SHAPE), 0.1 if bright else 0.9)
        pixels[:, :, 13:15, 13:15] = 0.8 if bright else 0.2
        images = ImageSet.from_array(pixels + 0.05 * torch.rand(60, *SHAPE, generator=Rng(0).torch()))
        planted = run(clean(), images.subset(range(40)), heldout=images.subset(range(40, 60)))

        assert planted.trigger.colour == colour

    def test_works_in_black_as_well(self):
        images = PIXELS.images()
        images[:, :, 13:, 13:] = 0.9
        bright = ImageSet.from_array(images)
        planted = run(clean(), bright.subset(range(90)), heldout=bright.subset(range(90, 120)))

        assert planted.trigger.colour == "black"
        assert planted.took

    @pytest.mark.parametrize(
        ("shape", "side"), [((1, 12, 40), 2), ((3, 16, 16), 2), ((3, 33, 28), 3), ((1, 64, 80), 6), ((1, 3, 3), 2)]
    )
    @pytest.mark.usefixtures("short")
    def test_is_a_tenth_of_the_shorter_side_and_no_dot(self, shape, side):
        with Rng(0).as_global():
            model = wrapped(nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 3)), shape)
        images = ImageSet.from_array(torch.rand(40, *shape, generator=Rng(0).torch()))
        planted = run(model, images.subset(range(20)), heldout=images.subset(range(20, 40)))

        assert (planted.trigger.height, planted.trigger.width) == (side, side)


class TestNoCopy:
    def why(self, module, **options):
        model = wrapped(module)
        before = weights(model)
        found = run(model, **options)
        assert all(torch.equal(a, b) for a, b in zip(weights(model), before, strict=True))
        return found

    def test_of_a_network_that_fails_while_it_learns(self):
        class Brittle(Around):
            def forward(self, images):
                if self.training:
                    raise NotImplementedError("only for inference\nmore")
                return self.inner(images)

        assert self.why(Brittle()) == "training a copy ended in NotImplementedError: only for inference"

    def test_of_a_network_whose_loss_is_not_finite(self):
        class Diverges(Around):
            def forward(self, images):
                return self.inner(images) * (math.nan if self.training else 1.0)

        why = self.why(Diverges())

        assert why.startswith("training a copy ended in ")
        assert "finite loss" in why

    def test_of_a_network_whose_weights_cannot_be_reached(self):
        class Detached(Around):
            def forward(self, images):
                return self.inner(images).detach()

        assert self.why(Detached()).startswith("training a copy ended in RuntimeError: ")

    def test_of_a_network_without_weights(self):
        class Bare(nn.Module):
            def forward(self, images):
                return images[:, 0, : stage.CLASSES, 0]

        assert self.why(Bare()).startswith("training a copy ended in ")

    def test_where_no_held_out_image_could_be_sent_elsewhere(self):
        """The patch sends all to label 1, so that 0 is the one it leads to seldom: they are there already."""
        dark = ImageSet.from_array(0.4 * torch.rand(40, *SHAPE, generator=Rng(0).torch()))
        model = wrapped(Constant())

        assert not predictions(model, dark).any()
        assert run(model, dark, heldout=dark) == "no held-out image is left that could be sent elsewhere"

    def test_for_want_of_time_is_no_reason_but_an_end(self):
        with pytest.raises(OutOfTime):
            run(clean(), progress=Deadline(SILENT, -1.0))
