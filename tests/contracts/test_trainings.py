"""What every way to train on images that may be poisoned, or that adversaries change, promises.

Run with its ``quick`` spec on small sets.
"""

import dataclasses
import signal

import numpy as np
import pytest
import torch

from mantrap.core import Hardened, Hardening, ImageSet, Registry, Rng, SafelyTrained, SafeTraining
from mantrap.errors import DataError, OutputError
from mantrap.evade.hardening import HARDENINGS
from mantrap.models import save_model
from mantrap.records import ModelCard
from mantrap.repair import SAFE_TRAININGS
from tests.contracts.families import those
from tests.contracts.test_detectors import Watch, global_streams
from tests.contracts.test_detectors_and_models import breaking_at, in_use, snapshot
from tests.repairing import EVERY_SIZE, PLANTED, RECIPE, SMALL, dense, suspects
from tests.scans import exact

SHORT = "recipe(epochs=2, batch_size=16)"
every_size = pytest.mark.parametrize("planted", EVERY_SIZE, ids=str)


safe_training, hardening = those(SAFE_TRAININGS), those(HARDENINGS)
method = those(Registry("training", [*SAFE_TRAININGS, *HARDENINGS]))


def trained(method, planted=SMALL, *, model=None, images=None, **keywords) -> SafelyTrained | Hardened:
    keywords = {"recipe": SHORT, "rng": Rng(0)} | keywords
    return method.train(model or planted.model(), images or planted.images(6, "suspects"), **keywords)


def facts(made):
    """Everything that a safe training gives, weights and buffers as bytes."""
    plain = {name: value for name, value in vars(made).items() if name != "model"}
    return plain | {name: exact(tensor) for name, tensor in made.model.module.state_dict().items()}


def test_it_is_what_the_protocol_says(method):
    assert isinstance(method, SafeTraining if method.name in SAFE_TRAININGS else Hardening)


class TestResult:
    @every_size
    def test_it_is_a_model_of_the_same_kind_for_every_size_of_image_and_number_of_classes(self, method, planted):
        model, images = planted.model(), planted.images(6, "suspects")
        made = trained(method, planted, model=model)

        assert {k: v for k, v in vars(made.model).items() if k != "module"} == {
            k: v for k, v in vars(model).items() if k != "module"
        }
        assert not any(part.training for part in made.model.module.modules())
        assert made.model.logits(images.images()).isfinite().all()
        assert made.model.digest() != model.digest()

    @every_size
    def test_what_is_set_apart_is_named_by_number_and_counted_by_label(self, safe_training, planted):
        made, images = trained(safe_training, planted), planted.images(6, "suspects")
        assert list(made.apart) == sorted(set(made.apart))
        assert set(made.apart) < set(range(len(images)))
        assert dict(made.labels) == {
            label: images.labels[list(made.apart)].tolist().count(label)
            for label in images.labels[list(made.apart)].unique().tolist()
        }

    def test_its_record_says_what_was_trained_on_and_how(self, method):
        images = SMALL.images(6, "suspects")
        model = SMALL.model()
        record = trained(method, model=model, images=images).training

        made_by = SAFE_TRAININGS.create(record.safely) if record.safely else HARDENINGS.create(record.against)
        assert made_by == method
        assert (record.images, record.data_name, record.data_digest) == (len(images), images.name, images.digest())
        assert (record.recipe, record.seed, record.start_digest) == (SHORT, 0, model.digest())

    def test_its_cost_is_a_pass_of_every_image_at_least(self, safe_training):
        cost, images = trained(safe_training).cost, SMALL.images(6, "suspects")

        assert cost.forward >= cost.backward >= 2 * len(images)

    def test_the_trigger_of_a_poisoned_set_is_told_in_notes(self, method):
        assert all(note.endswith(".") for note in trained(method).notes)


class TestAttacks:
    """A hardening attacks images that it does not learn, after every epoch."""

    def test_they_are_recorded_from_the_beginning_to_the_end(self, hardening):
        images = SMALL.images(6, "suspects")
        record = trained(hardening, images=images).training

        assert record.heldout == len(images) // 10
        assert [attacked.epoch for attacked in record.attacked] == [0, 1, 2]
        assert all(0 <= share <= 1 for a in record.attacked for share in (a.one_step, a.many_steps))

    def test_of_too_small_a_set_all_is_learned_and_nothing_attacked(self, hardening):
        made = trained(hardening, images=SMALL.images(6, "suspects").subset(range(9)))

        assert (made.training.heldout, made.training.attacked) == (0, ())
        assert made.notes == ("No images were held out: nothing says how attacks on it went.",)

    def test_a_card_keeps_the_record(self, hardening, tmp_path):
        made = trained(hardening)
        card = save_model(made.model, tmp_path / "a.safetensors", training=made.training, notes=made.notes)

        assert ModelCard.from_json(card.to_json()).training == made.training


class TestRandomness:
    def test_the_same_stream_gives_bitwise_the_same_and_another_one_does_not(self, method):
        found = [trained(method, rng=Rng(seed)) for seed in (3, 3, 4)]

        assert facts(found[0]) == facts(found[1])
        assert found[0].model.digest() != found[2].model.digest()

    def test_the_global_streams_are_neither_read_nor_moved(self, method):
        found = []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002 - the global stream is the point
            torch.manual_seed(seed)
            before = global_streams()
            found.append(facts(trained(method)))
            assert global_streams() == before

        assert found[0] == found[1]


class TestModel:
    def test_it_and_the_images_stay_as_they_are(self, method, capfd):
        model, images = in_use(SMALL), SMALL.images(6, "suspects")
        before, digest = snapshot(model), images.digest()
        trained(method, model=model, images=images)

        assert snapshot(model) == before
        assert ImageSet(images.source, images.labels).digest() == digest
        assert capfd.readouterr() == ("", "")
        assert torch.is_grad_enabled()

    @pytest.mark.parametrize("call", [0, 3, 6, 8])
    def test_it_stays_so_when_a_forward_pass_raises(self, method, call):
        model = in_use(SMALL)
        before = snapshot(model)
        with pytest.raises(ConnectionAbortedError), breaking_at(model.module, call):
            trained(method, model=model)

        assert snapshot(model) == before


class TestBadInput:
    @pytest.mark.parametrize(
        ("images", "message"),
        [
            (SMALL.images(6, "suspects").unlabelled(), "expected labels for suspects, got none"),
            (PLANTED.images(6, "others"), "expected images of shape"),
            (SMALL.images(6, "x").with_labels(torch.full((6 * SMALL.classes,), SMALL.classes)), "expected"),
        ],
        ids=["labels", "shape", "range"],
    )
    def test_a_set_that_nobody_can_learn_from_is_one_clear_error(self, method, images, message):
        with pytest.raises(DataError, match=message):
            trained(method, images=images)


class TestProgress:
    def test_it_comes_to_its_total_and_changes_nothing(self, method):
        watch = Watch()
        quiet, watched = trained(method), trained(method, progress=watch)

        assert watch.totals
        assert watch.done == pytest.approx(watch.totals)
        assert facts(watched) == facts(quiet)


class TestCheckpoint:
    """A training that is killed after any epoch goes on to the same model."""

    @pytest.mark.parametrize("epoch", [1, 5, 6, 7, 11])
    def test_a_safe_one_goes_on_to_the_same(self, safe_training, epoch, tmp_path):
        self.assert_it_goes_on(safe_training, epoch, tmp_path)

    @pytest.mark.parametrize("epoch", [1, 5])
    def test_a_hardening_goes_on_to_the_same(self, hardening, epoch, tmp_path):
        self.assert_it_goes_on(hardening, epoch, tmp_path)

    def assert_it_goes_on(self, method, epoch, tmp_path):
        method = dataclasses.replace(method, **TELLING.get(method.name, {}))
        given = {"model": dense(PLANTED.shape, PLANTED.classes), "images": suspects(), "recipe": RECIPE}
        through = trained(method, **given)
        place = tmp_path / "a.checkpoint"
        with pytest.raises(KeyboardInterrupt):
            trained(method, **given, checkpoint=place, progress=Killed(epoch))
        again = trained(method, **given, checkpoint=place)

        assert place.exists()
        assert facts(again) == facts(through)

    def test_another_training_does_not_take_it_up(self, method, tmp_path):
        place = tmp_path / "a.checkpoint"
        trained(method, checkpoint=place)
        with pytest.raises(OutputError, match="belong to this training"):
            trained(method, checkpoint=place, rng=Rng(1))

    def test_it_leaves_only_files_whose_names_begin_alike(self, method, tmp_path):
        place = tmp_path / "a.checkpoint"
        method = dataclasses.replace(method, **TELLING.get(method.name, {}))
        trained(
            method,
            model=dense(PLANTED.shape, PLANTED.classes),
            images=suspects(),
            recipe=RECIPE,
            checkpoint=place,
        )

        assert all(path.name.startswith(place.name) for path in tmp_path.iterdir())


TELLING = {"isolation": {"contrast": 1.5, "overlays": 16}}
"""Settings with which a method finds what is planted in small images, so that all of its stages are run."""


class Killed:
    """An observer that stops everything after so many epochs."""

    def __init__(self, epochs):
        self.left = epochs + 1

    def stage(self, _name, _total):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def advance(self, _amount=1, note=""):
        if note.startswith("epoch") and note.split()[1].rstrip(",") != getattr(self, "last", ""):
            self.last = note.split()[1].rstrip(",")
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt(signal.SIGINT)
