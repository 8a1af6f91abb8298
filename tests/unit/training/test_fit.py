"""Training is deterministic, resumable, leaves the model it was given alone, and says why it stopped."""

import io
import math
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from mantrap.core import ImageSet, Rng, Spec, build
from mantrap.errors import DataError, FailedError, OutputError, SpecError
from mantrap.models import wrap
from mantrap.training import Recipe, fit

EVERYTHING = Recipe(
    epochs=4,
    batch_size=7,
    optimizer="sgd(lr=0.2, momentum=0.9, nesterov=True)",
    schedule="cosine(warmup=0.3)",
    augment="affine",
)
SHORT = Recipe(epochs=2, batch_size=8)


def toy(count=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return ImageSet.from_array(torch.rand(count, 1, 4, 4, generator=generator), torch.arange(count) % 3, name="toy")


def network(seed=0):
    """With dropout, so that noise counts, and batch normalisation, so that buffers do."""
    with Rng(seed).as_global():
        return nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 6), nn.Dropout(0.4), nn.Linear(6, 3)
        )


def classifier(seed=0):
    return wrap(network(seed), input_shape=(1, 4, 4))


def run(recipe=SHORT, seed=0, **options):
    return fit(classifier(), toy(), recipe=recipe, rng=Rng(seed), **options)


class Watch:
    """An observer that notes what it is told and interrupts in the middle of an epoch."""

    def __init__(self, interrupt_in=None):
        self.interrupt_in, self.stages, self.notes, self.done = interrupt_in, [], [], 0.0

    @contextmanager
    def stage(self, name, total):
        self.stages.append((name, total))
        yield self

    def advance(self, amount=1, note=""):
        self.done += amount
        self.notes.append(note)
        if self.interrupt_in and note.startswith(f"epoch {self.interrupt_in},") and self.done % 1 > 0.5:
            raise KeyboardInterrupt


def test_the_same_seed_gives_the_same_weights_bitwise():
    first, second = run(EVERYTHING), run(EVERYTHING)
    assert first.model.digest() == second.model.digest()
    assert first.record == second.record


@pytest.mark.parametrize("recipe", [Recipe(epochs=1, batch_size=8), Recipe(epochs=1, batch_size=20)])
def test_another_seed_gives_others_by_order_or_by_dropout_alone(recipe):
    assert run(recipe, seed=0).model.digest() != run(recipe, seed=1).model.digest()


class Noted:
    """Pixels in memory, and in which order they were read."""

    def __init__(self):
        self.source, self.read_so_far = toy().source, []
        self.shape = self.source.shape

    def __len__(self):
        return len(self.source)

    def read(self, index):
        self.read_so_far += list(index)
        return self.source.read(index)


def test_every_epoch_sees_every_image_once_in_an_order_of_its_own():
    source = Noted()
    images = ImageSet(source, toy().labels)
    images.digest()
    source.read_so_far.clear()
    with Rng(0).as_global():
        model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), input_shape=(1, 4, 4))
    fit(model, images, recipe=Recipe(epochs=3, batch_size=7), rng=Rng(0))
    orders = [source.read_so_far[start : start + 20] for start in (0, 20, 40)]
    assert len(source.read_so_far) == 60
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders} | {tuple(range(20))}) == 4


def test_global_random_numbers_are_neither_used_nor_moved():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = run(EVERYTHING).model.digest()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert run(EVERYTHING).model.digest() == first


def test_the_model_that_comes_in_is_unchanged():
    model = classifier()
    model.module[0].weight.requires_grad_(False)
    modes = [True, False, True, True, False, True, True]
    for part, mode in zip(model.module.modules(), modes, strict=True):
        part.training = mode
    digest = model.digest()
    trained = fit(model, toy(), recipe=SHORT, rng=Rng(0)).model
    assert model.digest() == digest != trained.digest()
    assert [part.training for part in model.module.modules()] == modes
    assert [p.requires_grad for p in model.module.parameters()] == [False] + [True] * 7
    assert all(p.grad is None for p in model.module.parameters())


def test_a_trained_model_is_in_eval_mode():
    assert not any(part.training for part in run().model.module.modules())


def test_the_record_says_what_was_done():
    images = toy()
    model = classifier()
    record = fit(model, images, recipe=SHORT, rng=Rng(5)).record
    assert (record.recipe, record.seed, record.images) == ("recipe(epochs=2, batch_size=8)", 5, 20)
    assert (record.data_name, record.data_digest) == ("toy", images.digest())
    assert record.start_digest == model.digest()
    assert [e.epoch for e in record.epochs] == [1, 2]
    assert (record.test_accuracy, record.test_name) == (None, None)


def test_loss_and_accuracy_of_an_epoch_are_those_before_each_update():
    # One batch, no dropout: the loss of the first epoch is that of the model that came in.
    with Rng(0).as_global():
        model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), input_shape=(1, 4, 4))
    images = toy()
    logits = model.logits(images.images()).detach()
    epoch = fit(model, images, recipe=Recipe(epochs=1, batch_size=20), rng=Rng(0)).record.epochs[0]
    expected = float(nn.functional.cross_entropy(logits, images.labels))
    assert epoch.loss == pytest.approx(expected, rel=1e-5)
    assert epoch.accuracy == pytest.approx(float((logits.argmax(1) == images.labels).float().mean()))


def test_augmentation_changes_the_pixels_that_are_learnt_from_and_no_label():
    images = toy()
    digest, labels = images.digest(), images.labels.clone()
    plain = run(Recipe(epochs=1, batch_size=8)).model.digest()
    augmented = fit(classifier(), images, recipe=Recipe(epochs=1, batch_size=8, augment="affine"), rng=Rng(0)).model
    assert augmented.digest() != plain
    assert images.digest() == digest
    assert torch.equal(images.labels, labels)


def test_it_stops_at_the_last_epoch():
    record = run(Recipe(epochs=3, batch_size=8)).record
    assert (len(record.epochs), record.stopped) == (3, "last epoch")


def test_it_stops_when_no_epoch_of_the_patience_improves_by_the_tolerance():
    record = run(Recipe(epochs=9, batch_size=8, tolerance=10.0, patience=2)).record
    assert (len(record.epochs), record.stopped) == (3, "converged")


def test_it_goes_on_while_the_loss_falls_by_more_than_the_tolerance():
    with Rng(0).as_global():
        model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), input_shape=(1, 4, 4))
    recipe = Recipe(epochs=6, batch_size=20, optimizer="sgd(lr=0.05)", tolerance=0.0, patience=1)
    record = fit(model, toy(), recipe=recipe, rng=Rng(0)).record
    losses = [e.loss for e in record.epochs]
    assert losses == sorted(losses, reverse=True)
    assert (len(losses), record.stopped) == (6, "last epoch")


def test_progress_counts_epochs_and_says_where_it_is():
    watch = Watch()
    run(progress=watch)
    assert watch.stages == [("train", 2)]
    assert watch.done == pytest.approx(2)
    assert any(note.startswith("epoch 2, loss ") for note in watch.notes)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
@pytest.mark.parametrize("optimizer", [EVERYTHING.optimizer, "adam(lr=0.01)"])
def test_killed_in_any_epoch_it_goes_on_to_bitwise_the_same_weights(tmp_path, epoch, optimizer):
    recipe = Recipe(epochs=4, batch_size=7, optimizer=optimizer, schedule="cosine(warmup=0.3)", augment="affine")
    through, checkpoint = run(recipe), tmp_path / "checkpoint"
    with pytest.raises(KeyboardInterrupt):
        run(recipe, progress=Watch(interrupt_in=epoch), checkpoint=checkpoint)
    again = Watch()
    resumed = run(recipe, progress=again, checkpoint=checkpoint)
    assert resumed.model.digest() == through.model.digest()
    assert resumed.record == through.record
    assert not any(note.startswith(f"epoch {done},") for note in again.notes for done in range(1, epoch))
    assert again.done == pytest.approx(4)


def test_a_finished_checkpoint_is_not_trained_further(tmp_path):
    checkpoint, again = tmp_path / "checkpoint", Watch()
    first = run(checkpoint=checkpoint)
    second = run(progress=again, checkpoint=checkpoint)
    assert second.model.digest() == first.model.digest()
    assert again.notes == ["from the run before"]


@pytest.mark.parametrize(
    "other",
    [
        {"rng": Rng(1)},
        {"recipe": Recipe(epochs=3, batch_size=8)},
        {"images": toy(seed=1)},
        {"images": toy().with_labels(torch.arange(20) % 2)},
        {"model": classifier(seed=1)},
    ],
    ids=["seed", "recipe", "pixels", "labels", "model"],
)
def test_the_checkpoint_of_another_training_is_refused_and_kept(tmp_path, other):
    checkpoint = tmp_path / "checkpoint"
    run(checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    options = {"model": classifier(), "images": toy(), "recipe": SHORT, "rng": Rng(0)} | other
    with pytest.raises(OutputError, match="to belong to this training"):
        fit(options.pop("model"), options.pop("images"), checkpoint=checkpoint, **options)
    assert checkpoint.read_bytes() == before


def damaged():
    whole = io.BytesIO()
    torch.save({"identity": "?"}, whole)
    listed = io.BytesIO()
    torch.save([1, 2], listed)
    return {
        "empty": b"",
        "text": b"no checkpoint at all",
        "half": whole.getvalue()[: len(whole.getvalue()) // 2],
        "a list": listed.getvalue(),
        "a pickle": b"\x80\x02K\x01.",
    }


@pytest.mark.parametrize("content", damaged().values(), ids=damaged())
def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path, content):
    checkpoint = tmp_path / "checkpoint"
    checkpoint.write_bytes(content)
    with pytest.raises(OutputError, match=r"checkpoint of this training in .*Move it away"):
        run(checkpoint=checkpoint)
    assert checkpoint.read_bytes() == content


def test_a_loss_that_is_not_finite_is_a_failure_that_names_the_epoch():
    with pytest.raises(FailedError, match=r"a finite loss, got nan in epoch 1\. Lower the learning rate"):
        run(Recipe(epochs=3, batch_size=4, optimizer="sgd(lr=1e30)"))


def test_a_diverged_epoch_is_not_kept(tmp_path):
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(FailedError):
        run(Recipe(epochs=3, batch_size=4, optimizer="sgd(lr=1e30)"), checkpoint=checkpoint)
    assert not checkpoint.exists()


@pytest.mark.parametrize(
    ("labels", "said"),
    [(None, "labels for toy, got none"), (torch.arange(20) % 3 + 1, r"labels from 0 to 2.*6 of 20.*outside \(3\)")],
    ids=["none", "outside"],
)
def test_labels_that_do_not_fit_are_refused(labels, said):
    images = toy().unlabelled() if labels is None else toy().with_labels(labels)
    with pytest.raises(DataError, match=said):
        fit(classifier(), images, recipe=SHORT, rng=Rng(0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"patience": -1},
        {"tolerance": -0.1},
        {"optimizer": "sgd(lr=0)"},
        {"schedule": "linear"},
        {"augment": "flip"},
    ],
    ids=str,
)
def test_a_recipe_refuses_what_it_cannot_cook(wrong):
    with pytest.raises(SpecError):
        Recipe(**wrong)


def test_every_loss_is_finite_on_a_single_image():
    # Batch normalisation over the pixels of one image; the last batch is smaller than the others.
    record = fit(classifier(), toy(3), recipe=Recipe(epochs=1, batch_size=2), rng=Rng(0)).record
    assert math.isfinite(record.epochs[0].loss)


class Viewed(nn.Module):
    """A network that can only look at maps whose channels come first."""

    def __init__(self):
        super().__init__()
        self.conv, self.dense, self.seen = nn.Conv2d(1, 2, 3), nn.Linear(8, 3), []

    def forward(self, x):
        self.seen.append(self.conv.weight.stride())
        return self.dense(self.conv(x).view(len(x), -1))


class Flattened(Viewed):
    """The same network, written so that it does not care."""

    def forward(self, x):
        self.seen.append(self.conv.weight.stride())
        return self.dense(self.conv(x).flatten(1))


@pytest.mark.parametrize(("kind", "strides"), [(Viewed, (9, 9, 3, 1)), (Flattened, (9, 1, 3, 1))])
def test_convolutions_learn_channels_last_where_they_can_and_come_back_as_is_usual(kind, strides):
    with Rng(0).as_global():
        model = wrap(kind(), input_shape=(1, 4, 4))
    trained = fit(model, toy(), recipe=SHORT, rng=Rng(0)).model
    assert trained.module.seen[-1] == strides
    assert all(p.is_contiguous() for p in trained.module.parameters())


def test_bfloat16_gives_nearly_the_same_weights_in_single_precision():
    with Rng(0).as_global():
        model = wrap(Flattened(), input_shape=(1, 4, 4))
    recipe = "recipe(epochs=3, batch_size=5, optimizer='sgd(lr=0.1)'{})"
    single, half = (
        fit(model, toy(), recipe=build(Recipe, Spec.parse(recipe.format(more))), rng=Rng(0)).model
        for more in ("", ", precision='bfloat16'")
    )
    before, exact, rounded = (
        torch.cat([p.detach().flatten() for p in one.module.parameters()]) for one in (model, single, half)
    )
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() < 0.05 * (exact - before).norm()


def test_another_precision_is_refused():
    with pytest.raises(SpecError, match="precision"):
        build(Recipe, Spec.parse("recipe(precision='float8')"))


@pytest.mark.parametrize("shape", [(20, 3, 4, 4), (20, 1, 5, 4)])
def test_images_that_do_not_fit_the_model_are_refused(shape):
    images = ImageSet.from_array(torch.rand(shape), torch.arange(20) % 3)
    with pytest.raises(DataError, match=r"images of shape \(1, 4, 4\), as the model takes them"):
        fit(classifier(), images, recipe=SHORT, rng=Rng(0))


def test_a_checkpoint_of_another_architecture_with_equal_weights_is_not_taken_up(tmp_path):
    checkpoint = tmp_path / "c"
    fit(classifier(), toy(), recipe=SHORT, rng=Rng(0), checkpoint=checkpoint)
    other = classifier()
    other.arch = "mlp(activation='tanh')"
    assert other.digest() == classifier().digest()
    with pytest.raises(OutputError, match="another"):
        fit(other, toy(), recipe=SHORT, rng=Rng(0), checkpoint=checkpoint)
