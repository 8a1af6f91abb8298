"""What every way to train on images that may be poisoned promises; run with its ``quick`` spec on small sets."""

import dataclasses
import signal

import numpy as np
import pytest
import torch

from mantrap.core import ImageSet, Rng, SafelyTrained, SafeTraining
from mantrap.errors import DataError, OutputError
from mantrap.repair import SAFE_TRAININGS
from tests.contracts.test_detectors import Watch, global_streams
from tests.contracts.test_detectors_and_models import breaking_at, in_use, snapshot
from tests.repairing import EVERY_SIZE, PLANTED, RECIPE, SMALL, dense, suspects
from tests.scans import exact

SHORT = "recipe(epochs=2, batch_size=16)"
every_size = pytest.mark.parametrize("planted", EVERY_SIZE, ids=str)


@pytest.fixture(params=list(SAFE_TRAININGS), ids=lambda kind: kind.name)
def method(request) -> SafeTraining:
    return SAFE_TRAININGS.create(request.param.quick)


def trained(method, planted=SMALL, *, model=None, images=None, **keywords) -> SafelyTrained:
    keywords = {"recipe": SHORT, "rng": Rng(0)} | keywords
    return method.train(model or planted.model(), images or planted.images(6, "suspects"), **keywords)


def facts(made):
    """Everything that a safe training gives, weights and buffers as bytes."""
    plain = {name: value for name, value in vars(made).items() if name != "model"}
    return plain | {name: exact(tensor) for name, tensor in made.model.module.state_dict().items()}


def test_it_is_what_the_protocol_says(method):
    assert isinstance(method, SafeTraining)


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

        assert SAFE_TRAININGS.create(record.safely) == method
        assert (record.images, record.data_name, record.data_digest) == (len(images), images.name, images.digest())
        assert (record.recipe, record.seed, record.start_digest) == (SHORT, 0, model.digest())

    def test_its_cost_is_a_pass_of_every_image_at_least(self, method):
        cost, images = trained(method).cost, SMALL.images(6, "suspects")

        assert cost.forward >= cost.backward >= 2 * len(images)

    def test_the_trigger_of_a_poisoned_set_is_told_in_notes(self, method):
        assert all(note.endswith(".") for note in trained(method).notes)


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
    def test_it_goes_on_to_the_same(self, method, epoch, tmp_path):
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
