"""A copy that learns its last layer anew from clean images: it keeps what these need, and loses a planted trigger."""

import itertools
import math
from typing import ClassVar

import pytest
import torch
from torch import nn

from mantrap.core import SILENT, Classifier, Detection, ImageSet, OutOfTime, Rng
from mantrap.models import wrap
from mantrap.ops.scores import predictions
from mantrap.records import CheckStatus
from mantrap.training import Recipe, fit
from mantrap.workflow import retraining
from mantrap.workflow.budget import Deadline
from mantrap.workflow.retraining import retrain, unwanted

SHAPE, CLASSES, TARGET = (1, 12, 12), 4, 0
BATCH, UPDATES = 32, 60


def toy(count, seed, *, labels=None):
    """Images [n, 1, 12, 12] of a dark pattern for each class, in noise."""
    patterns = (torch.rand(CLASSES, *SHAPE, generator=torch.Generator().manual_seed(99)) > 0.5) * 0.4 + 0.1
    noise = torch.Generator().manual_seed(seed)
    classes = torch.arange(count) % CLASSES if labels is None else torch.tensor(labels)
    contrast = 0.6 + 0.4 * torch.rand(count, 1, 1, 1, generator=noise)
    return ImageSet.from_array(patterns[classes] * contrast + 0.3 * torch.rand(count, *SHAPE, generator=noise), classes)


def stamped(images):
    """The same images with a white 3x3 square at the lower right."""
    pixels = images.images()
    pixels[:, :, -3:, -3:] = 1.0
    return ImageSet.from_array(pixels, images.labels)


class Small(nn.Module):
    """A ReLU network with all that training can move; it notes how many images it learns from at once."""

    seen: ClassVar[list[int]] = []

    def __init__(self):
        super().__init__()
        self.below = nn.Sequential(nn.Flatten(), nn.Linear(144, 48), nn.BatchNorm1d(48), nn.ReLU())
        self.hidden = nn.Sequential(nn.Linear(48, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1))
        self.head = nn.Linear(16, CLASSES)

    def forward(self, images):
        if self.training:
            self.seen.append(len(images))
        return self.head(self.hidden(self.below(images)))


def trained(seed=0, *, poisoned=0):
    """A network that knows the patterns, and the square as well where some images were poisoned."""
    with Rng(seed).as_global():
        model = wrap(Small(), input_shape=SHAPE)
    images = toy(300, seed + 1)
    bad = stamped(images.subset(range(poisoned))).with_labels(torch.full((poisoned,), TARGET)) if poisoned else None
    pixels = torch.cat([part.images() for part in (images, bad) if part is not None])
    labels = torch.cat([part.labels for part in (images, bad) if part is not None])
    recipe = Recipe(epochs=15, batch_size=BATCH, optimizer="adam(lr=0.003)")
    return fit(model, ImageSet.from_array(pixels, labels), recipe=recipe, rng=Rng(seed)).model


@pytest.fixture(scope="module")
def model():
    return trained()


@pytest.fixture
def short(monkeypatch):
    """Learning takes a seventh of its time: for what does not depend on what is learned."""
    monkeypatch.setattr(retraining, "_UPDATES", UPDATES)


HELDOUT = toy(60, 70)


def run(model, scan=None, *, seed=0, heldout=HELDOUT, progress=SILENT):
    return retrain(model, scan or toy(96, 50), heldout, rng=Rng(seed), progress=progress)


class TestABackdoor:
    def test_is_lost_in_the_copy_and_the_task_is_not(self):
        followed = []
        for seed in range(2):
            marked = trained(seed, poisoned=60)
            others = toy(150, seed + 80, labels=[1, 2, 3] * 50)
            made = run(marked, toy(128, seed + 50), seed=seed)
            rates = [float((predictions(m, stamped(others)) == TARGET).double().mean()) for m in (marked, made.model)]
            followed.append(rates)
            assert made.agreement.value > 0.95
            assert float((predictions(made.model, others) == others.labels).double().mean()) > 0.95

        assert min(before for before, _ in followed) > 0.95
        assert sum(after for _, after in followed) / 2 < 0.4


@pytest.mark.usefixtures("short")
class TestTheModel:
    def test_stays_bitwise_as_it_is(self):
        model = trained()
        model.module.zero_grad()
        modes = itertools.cycle([True, False])
        for part, mode in zip(model.module.modules(), modes, strict=False):
            part.training = mode
        model.module.head.bias.requires_grad_(False)
        before = [(m, m.training) for m in model.module.modules()]
        digest, random = model.digest(), torch.get_rng_state()
        run(model)

        assert model.digest() == digest
        assert all(m.training is mode for m, mode in before)
        assert [p.requires_grad for p in model.module.head.parameters()] == [True, False]
        assert all(p.grad is None for p in model.module.parameters())
        assert not any(m._forward_pre_hooks for m in model.module.modules())
        assert torch.equal(torch.get_rng_state(), random)

    def test_is_not_moved_by_asking_whether_it_can_be_copied(self):
        model = trained()
        model.module.train()
        digest = model.digest()
        unwanted(model, toy(96, 50), [Detection("some", 6, traits={"patch": {0: 0.1}})], asked=True)

        assert model.digest() == digest
        assert all(part.training for part in model.module.modules())

    def test_may_be_one_whose_weights_want_no_gradient(self):
        frozen = trained()
        frozen.module.requires_grad_(False)

        assert run(frozen).model.digest() == run(trained()).model.digest()
        assert not any(p.requires_grad for p in frozen.module.parameters())

    def test_may_be_looked_at_where_nobody_wants_gradients(self, model):
        with torch.no_grad():
            made = run(model)
            assert not torch.is_grad_enabled()

        assert made.model.digest() == run(model).model.digest()

    def test_that_answers_otherwise_while_it_learns_has_no_copy(self, model):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model.module

            def forward(self, images):
                logits = self.inner(images)
                return (logits, logits) if self.training else logits

        made = run(wrap(Twice().eval(), input_shape=SHAPE))

        assert (made.model, made.check.status) == (None, CheckStatus.SKIPPED)
        assert made.check.message.startswith("No copy was retrained: ")

    def test_that_fails_while_it_learns_has_no_copy_and_says_how(self, model):
        class Brittle(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model.module

            def forward(self, images):
                if self.training:
                    raise NotImplementedError("only for inference\nmore")
                return self.inner(images)

        made = run(wrap(Brittle().eval(), input_shape=SHAPE))

        assert (made.model, made.check.status) == (None, CheckStatus.SKIPPED)
        assert made.check.message == (
            "No copy was retrained: training it ended in NotImplementedError: only for inference."
        )

    def test_that_has_no_more_time_is_stopped(self, model):
        with pytest.raises(OutOfTime):
            run(model, progress=Deadline(SILENT, -1.0))

    def test_whose_loss_is_not_finite_has_no_copy(self, model):
        class Diverges(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = model.module

            def forward(self, images):
                return self.inner(images) * (math.nan if self.training else 1.0)

        made = run(wrap(Diverges().eval(), input_shape=SHAPE))

        assert (made.model, made.agreement, made.measured) == (None, None, None)
        assert (
            made.check.message
            == "No copy was retrained: training it ended in nan in epoch 1, where a finite loss was expected."
        )


@pytest.mark.usefixtures("short")
class TestTheCopy:
    def test_has_a_new_last_layer_of_the_same_size_before_it_learns(self, model):
        fresh, old = (m.module.state_dict() for m in (retraining._fresh(model, Rng(0)), model))
        new = {name for name, value in fresh.items() if not torch.equal(value, old[name])}
        both = torch.stack([fresh["head.weight"].flatten(), old["head.weight"].flatten()])

        assert new == {"head.weight", "head.bias"}
        assert float(both[0].std()) == pytest.approx(float(both[1].std()), rel=0.35)
        assert abs(float(torch.corrcoef(both)[0, 1])) < 0.4
        assert not fresh["head.bias"].any()

    def test_has_a_new_last_layer_though_its_weights_are_made_of_others(self, model):
        with Rng(0).as_global():
            network = nn.Sequential(model.module.below, model.module.hidden, nn.Linear(16, CLASSES)).eval()
        nn.utils.parametrizations.weight_norm(network[-1])
        old = network[-1].weight.detach().clone()
        fresh = retraining._fresh(wrap(network, input_shape=SHAPE), Rng(0))
        new = fresh.module[-1].weight.detach()

        assert float((new - old).abs().max()) > 0.1 * float(old.std())
        assert torch.equal(network[-1].weight, old)

    def test_learns_with_all_its_layers(self, model):
        copied = run(model).model.module.state_dict()
        same = [name for name, value in model.module.state_dict().items() if torch.equal(value, copied[name])]

        assert same == []

    def test_is_ready_to_be_looked_at(self, model):
        made = run(model)

        assert not any(part.training for part in made.model.module.modules())
        assert (made.model.input_shape, made.model.num_classes) == (SHAPE, CLASSES)

    def test_is_the_same_for_a_seed_and_another_for_another(self, model):
        digests = [run(model, seed=seed).model.digest() for seed in (1, 1, 2)]

        assert digests[0] == digests[1] != digests[2]

    def test_says_what_it_learned_from_and_how_far_it_agrees(self, model):
        made = run(model)
        same = int((predictions(made.model, HELDOUT) == predictions(model, HELDOUT)).sum())

        assert (made.agreement.hits, made.agreement.total, made.images) == (same, 60, 96)
        assert made.check.status is CheckStatus.PASSED
        assert made.check.message == (
            "A copy was retrained on 96 images. It answers 100.0 % of held-out images as the model does."
        )
        assert made.measured is None


@pytest.mark.usefixtures("short")
class TestWhatItLearnsFrom:
    @pytest.mark.parametrize(("count", "used"), [(64, 64), (65, 64), (66, 66), (97, 96), (600, 450)])
    def test_is_never_a_batch_of_one_image_nor_more_than_some(self, model, count, used):
        Small.seen.clear()
        made = run(model, toy(count, 50))

        assert made.images == used
        assert {min(Small.seen), max(Small.seen)} == {used % BATCH or BATCH, BATCH}
        assert made.cost.backward == sum(Small.seen)
        assert UPDATES <= len(Small.seen) < UPDATES + math.ceil(used / BATCH)

    def test_are_images_drawn_at_random(self, model):
        sorted_by_label = toy(600, 50, labels=[0] * 150 + [1] * 150 + [2] * 150 + [3] * 150)

        assert run(model, sorted_by_label).unsure == ()

    def test_are_the_labels_where_there_are_some_and_else_the_answers_of_the_model(self, model):
        right = toy(96, 50)
        wrong = right.with_labels((right.labels + 1) % CLASSES)
        bare = ImageSet.from_array(right.images())
        taught, asked = run(model, wrong), run(model, bare)

        assert taught.check.message == (
            "It answers 0.0 % of held-out images as the model does, and is not compared with it: 60 % are needed."
        )
        assert asked.agreement.value > 0.95
        assert asked.cost.backward == taught.cost.backward
        assert asked.cost.forward == taught.cost.forward + 96 == asked.cost.backward + 96 + 2 * 60

    def test_teaches_it_what_the_model_says_even_where_that_is_odd(self, model):
        odd = Classifier(nn.Sequential(model.module, _Turned()), input_shape=SHAPE, num_classes=CLASSES)
        made = run(odd, ImageSet.from_array(toy(96, 50).images()))

        assert float((predictions(made.model, HELDOUT) == (HELDOUT.labels + 1) % CLASSES).double().mean()) > 0.95

    def test_leaves_it_unsure_of_labels_of_fewer_than_three_images(self, model):
        scan = toy(99, 50, labels=[0] * 60 + [1] * 34 + [2] * 3 + [3] * 2)

        assert run(model, scan, heldout=scan).unsure == (3,)
        assert run(model, ImageSet.from_array(scan.images()), heldout=scan).unsure == (3,)

    def test_one_that_disagrees_is_not_compared(self, model):
        right = toy(96, 50)
        made = run(model, right.with_labels((right.labels + 1) % CLASSES))

        assert made.check.status is CheckStatus.SKIPPED
        assert (made.model, made.agreement, made.unsure, made.measured) == (None, None, (), None)
        assert made.cost.backward > 0


class _Turned(nn.Module):
    """Every label is the one before it."""

    def forward(self, logits):
        return logits.roll(1, 1)
