"""What misleads one planted model and what it does to others, of which it is known."""

import dataclasses

import pytest
import torch

from mantrap.core import Classifier
from mantrap.errors import DataError, OutputError, UsageError
from mantrap.evade import DeepFool, Fgsm
from mantrap.records import TransferRecord
from mantrap.workflow.plan import Source
from mantrap.workflow.transfer import transfer
from mantrap.workflow.transferring import Transferring
from tests.cleansing import stable
from tests.evading import TWO, behind
from tests.planted import Planted
from tests.scans import SMALL

EPS = 0.28
"""Enough to mislead a planted model of two classes on every image."""


class HalfBlind(torch.nn.Module):
    """The same network, to which the right half of every image is grey."""

    def __init__(self):
        super().__init__()
        self.inner = TWO.network()

    def forward(self, images):
        return self.inner(torch.cat([images[..., :4], torch.zeros_like(images[..., 4:])], dim=3))


def seeing_half():
    model = TWO.model()
    model.module = HalfBlind()
    return model


def work(*models, images=None, evasion=None, **changes):
    given = [(Source(f"m{k}.safetensors", f"{k}" * 64), model) for k, model in enumerate(models)]
    images = TWO.images(20, "transfer") if images is None else images
    return Transferring(models=tuple(given), images=images, evasion=evasion or Fgsm(eps=EPS), **changes)


def wrong(record):
    return [[one.wrong.value for one in row.shown] for row in record.rows]


class TestTable:
    def test_what_is_made_for_a_model_misleads_it_and_its_twin(self):
        record = transfer(work(TWO.model(), TWO.model()))

        assert wrong(record) == [[1, 1], [1, 1]]
        assert [one.cosine for row in record.rows for one in row.shown] == pytest.approx([1] * 4)
        assert all(one.same.value == 1 for row in record.rows for one in row.shown)
        assert record.headline.startswith("Of what was made for one of 2 models 100.0 % misleads another one")

    def test_noise_of_the_same_distortion_does_not(self):
        record = transfer(work(TWO.model(), TWO.model()))

        assert all(one.noise.value == 0 for row in record.rows for one in row.shown)
        assert record.headline.endswith("noise of the same distortion 0.0 %.")

    def test_gradients_of_a_model_that_sees_half_of_it_point_half_the_same_way(self):
        record = transfer(work(TWO.model(), seeing_half()))
        apart = TWO.templates[0] != TWO.templates[1]
        half = float((apart[..., :4].sum() / apart.sum()).sqrt())

        assert record.rows[0].shown[1].cosine == pytest.approx(half, rel=1e-4)
        assert record.rows[1].shown[0].cosine == pytest.approx(half, rel=1e-4)
        # What changes only what the half-blind one sees takes less of the other's margin than it has.
        assert record.rows[0].shown[1].wrong.value == 1
        assert record.rows[1].shown[0].wrong.value < 0.5

    def test_a_model_without_gradients_has_no_cosine_and_is_shown_the_others(self):
        deaf = behind(torch.Tensor.detach)
        record = transfer(work(TWO.model(), deaf, evasion=Answers(eps=EPS)))

        assert record.rows[0].shown[1].cosine is None
        assert record.rows[0].shown[0].cosine == pytest.approx(1)
        assert record.rows[0].shown[1].wrong.value == 1

    def test_only_images_that_all_models_get_right_are_used(self):
        images = TWO.images(20, "transfer")
        labels = images.labels.clone()
        labels[:6] = 1 - labels[:6]
        record = transfer(work(TWO.model(), TWO.model(), images=images.with_labels(labels)))

        assert (record.images, record.right) == (40, 34)
        assert [rate.hits for rate in record.accuracies] == [34, 34]
        assert record.rows[0].shown[1].wrong.total == 34

    def test_distortions_are_those_of_the_changes(self):
        record = transfer(work(TWO.model(), TWO.model()))

        assert EPS * 0.95 < record.rows[0].distortion < EPS  # every value goes so far, but where its range ends

    @pytest.mark.parametrize(("stretched", "misled"), [(0.02, 0), (0.27, 1)])
    def test_changes_can_be_brought_to_a_distortion(self, stretched, misled):
        record = transfer(work(TWO.model(), TWO.model(), stretched=stretched, evasion=Fgsm(eps=0.01)))

        assert record.rows[0].distortion == pytest.approx(stretched, rel=0.02)  # whole grey levels
        assert record.rows[0].shown[1].wrong.value == misled

    def test_models_that_number_their_classes_otherwise_are_understood_by_name(self):
        images = TWO.images(20, "transfer").renamed(("left", "right"))
        same, turned = TWO.model(), behind(lambda logits: logits.flip(1))
        same.class_names, turned.class_names = ("left", "right"), ("right", "left")
        record = transfer(work(same, turned, images=images))

        assert [rate.hits for rate in record.accuracies] == [40, 40]
        assert wrong(record) == [[1, 1], [1, 1]]
        assert all(one.same.value == 1 for row in record.rows for one in row.shown)
        assert all(one.noise.value == 0 for row in record.rows for one in row.shown)
        assert [one.cosine for row in record.rows for one in row.shown] == pytest.approx([1] * 4)

    def test_the_smallest_changes_mislead_as_pictures_too(self):
        (row, _) = transfer(work(TWO.model(), TWO.model(), evasion=DeepFool())).rows

        assert [one.wrong.value for one in row.shown] == [1, 1]

    def test_the_same_seed_gives_the_same(self):
        assert stable(transfer(work(TWO.model(), seeing_half()))) == stable(transfer(work(TWO.model(), seeing_half())))


class Answers(Fgsm):
    """An evasion by answers alone: it knows where a planted model of two classes lies."""

    needs_gradients = False

    def search(self, problem, **_):
        ways = TWO.templates[1 - problem.labels] - TWO.templates[problem.labels]
        return (problem.images + self.eps * ways.sign()).clamp(0, 1)


class TestNames:
    def test_files_that_are_called_the_same_are_told_apart_by_their_folders(self):
        twice = [Source("m.safetensors", "ab" * 32, f"/runs/{k}/m.safetensors") for k in "ab"]
        given = dataclasses.replace(work(TWO.model(), TWO.model()), models=tuple((s, TWO.model()) for s in twice))

        assert transfer(given).names == ("a/m.safetensors", "b/m.safetensors")

    def test_and_the_same_file_twice_by_its_number(self):
        source = Source("m.safetensors", "ab" * 32, "/runs/m.safetensors")
        given = dataclasses.replace(work(TWO.model(), TWO.model()), models=((source, TWO.model()),) * 2)

        assert transfer(given).names == ("runs/m.safetensors (1)", "runs/m.safetensors (2)")


class TestFolder:
    def test_a_finished_run_is_not_done_again(self, tmp_path, monkeypatch):
        first = transfer(work(TWO.model(), TWO.model()), tmp_path)
        monkeypatch.setattr(Classifier, "logits", None)

        assert transfer(work(TWO.model(), TWO.model()), tmp_path) == first
        assert TransferRecord.from_json((tmp_path / "transfer.json").read_text()) == first

    def test_the_folder_of_another_run_is_left_alone(self, tmp_path):
        transfer(work(TWO.model(), TWO.model()), tmp_path)
        with pytest.raises(OutputError, match="the run of another stretched"):
            transfer(work(TWO.model(), TWO.model(), stretched=0.1), tmp_path)


class TestBadInput:
    def test_one_model(self):
        with pytest.raises(UsageError, match="expected two models or more, got 1"):
            work(TWO.model())

    def test_models_of_other_classes(self):
        four = Planted(shape=(1, 8, 8), classes=4)
        with pytest.raises(UsageError, match="models of the same classes, got models of 2, 4 classes"):
            work(TWO.model(), four.model())

    def test_images_that_do_not_fit(self):
        with pytest.raises(DataError, match=r"expected images of shape \(1, 8, 8\)"):
            work(TWO.model(), TWO.model(), images=SMALL.images(3, "transfer"))

    @pytest.mark.parametrize("stretched", [0.0, -1.0, 1.5])
    def test_a_distortion_that_is_none(self, stretched):
        with pytest.raises(UsageError, match="a distortion above 0 and of at most 1"):
            work(TWO.model(), TWO.model(), stretched=stretched)

    def test_no_image_that_all_get_right(self):
        with pytest.raises(UsageError, match="that all models get right, got none"):
            transfer(work(TWO.model(), behind(torch.Tensor.neg)))
