"""What every repair promises, whatever its method; run with its ``quick`` spec on small planted models."""

import dataclasses

import numpy as np
import pytest
import torch

from mantrap.core import (
    Classifier,
    ImageSet,
    Repair,
    Repaired,
    ReversedPatch,
    ReversedPerturbation,
    ReversedWarp,
    Rng,
)
from mantrap.errors import UsageError
from mantrap.repair import REPAIRS
from tests.contracts.families import by_triggers, those
from tests.contracts.test_detectors import Watch, global_streams
from tests.contracts.test_detectors_and_models import breaking_at, in_use, snapshot
from tests.poisoning import SETS, classifier, for_each_shape, image_set, unmoved
from tests.repairing import EVERY_SIZE, MAY_FIND_NOTHING, SMALL, dense, updates
from tests.scans import exact

LEARNS_NOTHING = {"pruning"}
"""Repairs that only take away: they make no updates."""

every_size = pytest.mark.parametrize("planted", EVERY_SIZE, ids=str)


repair, needing, needless = by_triggers(REPAIRS)


TRIES_ITS_MODELS = {"auto"}
"""Repairs that train on what they made, to see whether a trigger comes back: these updates are none of the repair."""

finding = those(REPAIRS, lambda kind: kind.name not in MAY_FIND_NOTHING)
learning = those(REPAIRS, lambda kind: kind.name not in LEARNS_NOTHING | TRIES_ITS_MODELS)


def patch(shape, target=1):
    """A patch in a corner."""
    mask = torch.zeros(shape[1:])
    mask[-3:, -2:] = 0.5
    return ReversedPatch(target, mask, torch.ones(shape))


def every_kind_of_trigger(shape):
    change = torch.rand(shape, generator=Rng(0).torch()) - 0.5
    return (patch(shape), ReversedPerturbation(0, change), ReversedWarp(1, torch.full((2, *shape[1:]), 0.7)))


def mended(repair, planted=SMALL, *, model=None, clean=None, **keywords) -> Repaired:
    model = model or planted.model()
    keywords = {"triggers": (patch(model.input_shape),), "rng": Rng(0)} | keywords
    return repair.repair(model, clean or planted.images(4, "repair"), **keywords)


def facts(repaired):
    """Everything a repair gives, weights and buffers as bytes: equal only if bitwise equal."""
    plain = {name: value for name, value in vars(repaired).items() if name != "model"}
    return plain | {name: exact(tensor) for name, tensor in repaired.model.module.state_dict().items()}


def test_a_repair_is_what_the_protocol_says(repair):
    assert isinstance(repair, Repair)


class TestResult:
    @every_size
    def test_it_is_a_model_of_the_same_kind_for_every_size_of_image_and_number_of_classes(self, repair, planted):
        model = Classifier(
            planted.network(),
            input_shape=planted.shape,
            num_classes=planted.classes,
            mean=(127.5,),
            std=(63.75,),
            pixel_range=(0, 255),
            class_names=[f"class {k}" for k in range(planted.classes)],
            arch="templates",
        )
        images = planted.images(4, "repair")
        found = mended(repair, model=model, clean=images)
        made = found.model

        unlike = {"module"}
        assert {k: v for k, v in vars(made).items() if k not in unlike} == {
            k: v for k, v in vars(model).items() if k not in unlike
        }
        assert not any(part.training for part in made.module.modules())
        assert made.logits(images.images()).isfinite().all()
        assert made.digest() != model.digest() or repair.name in MAY_FIND_NOTHING
        assert found.images == len(images)

    def test_it_shares_no_weight_with_the_model_that_came_in(self, repair):
        model = SMALL.model()
        before = model.digest()
        made = mended(repair, model=model).model
        with torch.no_grad():
            for tensor in made.module.state_dict().values():
                tensor.zero_()

        assert model.digest() == before

    def test_its_spec_builds_the_repair_again(self, repair):
        assert REPAIRS.create(mended(repair).repair) == repair

    @every_size
    def test_its_cost_is_above_zero_and_that_of_gradients_no_higher_than_that_of_answers(self, repair, planted):
        cost = mended(repair, planted).cost

        assert cost.forward >= cost.backward
        assert cost.forward > 0
        assert (cost.backward == 0) == (repair.name in LEARNS_NOTHING)


class TestRandomness:
    def test_the_same_stream_gives_bitwise_the_same_model(self, repair):
        assert facts(mended(repair, rng=Rng(3))) == facts(mended(repair, rng=Rng(3)))

    def test_another_stream_gives_other_weights(self, finding):
        assert mended(finding, rng=Rng(3)).model.digest() != mended(finding, rng=Rng(4)).model.digest()

    def test_the_global_streams_are_neither_read_nor_moved(self, repair):
        found = []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002 - the global stream is the point
            torch.manual_seed(seed)
            before = global_streams()
            found.append(facts(mended(repair)))
            assert global_streams() == before

        assert found[0] == found[1]


class TestModel:
    def test_it_is_bitwise_unchanged(self, repair):
        model = in_use(SMALL)
        before, digest = snapshot(model), model.digest()
        mended(repair, model=model)

        assert snapshot(model) == before
        assert model.digest() == digest

    def test_it_is_bitwise_unchanged_whichever_forward_pass_raises(self, repair):
        call = 0
        while True:
            model = in_use(SMALL)
            before = snapshot(model)
            try:
                with breaking_at(model.module, call):
                    mended(repair, model=model)
            except ConnectionAbortedError:
                assert snapshot(model) == before
                call += 1
            else:
                break

        assert call >= 4

    def test_its_mode_makes_no_difference(self, repair):
        found = []
        for training in (True, False):
            model = SMALL.model()
            model.module.train(training)
            found.append(facts(mended(repair, model=model)))

        assert found[0] == found[1]

    @for_each_shape(SETS)
    def test_a_network_with_convolutions_stays_as_it_is_as_do_its_images(self, repair, shape, capsys):
        model, images = classifier(shape), image_set(shape)
        with unmoved(capsys, model=model, data=images):
            found = mended(repair, model=model, clean=images)

        assert all(tensor.is_contiguous() for tensor in found.model.module.state_dict().values())


class TestImages:
    def test_they_and_their_labels_are_left_as_they_are(self, repair):
        clean = SMALL.images(4, "repair")
        before = ImageSet(clean.source, clean.labels).digest()
        mended(repair, clean=clean)

        assert ImageSet(clean.source, clean.labels).digest() == before

    def test_where_they_have_no_labels_the_models_own_answers_serve(self, repair):
        clean = SMALL.images(4, "repair")
        wrong = clean.with_labels((clean.labels + 1) % SMALL.classes)
        with_labels, without, with_wrong = (
            mended(repair, clean=images) for images in (clean, wrong.unlabelled(), wrong)
        )

        # The model is right on every image, so its own answers are the labels.
        assert without.model.digest() == with_labels.model.digest()
        assert with_wrong.model.digest() != with_labels.model.digest() or repair.name in LEARNS_NOTHING
        assert without.cost.forward == with_labels.cost.forward + len(clean)
        assert without.cost.backward == with_labels.cost.backward

    def test_three_will_do(self, repair):
        made = mended(repair, clean=SMALL.images(1, "repair").subset(range(3))).model

        assert made.logits(SMALL.images(1, "other").images()).isfinite().all()

    @pytest.mark.parametrize("batches", [1, 2])
    def test_a_number_that_leaves_one_over_in_the_last_batch_will_do(self, repair, batches):
        count = batches * getattr(repair, "batch_size", 32) + 1
        images = SMALL.images(count, "repair").subset(range(count))
        made = mended(repair, model=dense(SMALL.shape, SMALL.classes, convolved=True), clean=images).model

        assert made.logits(images.images()).isfinite().all()


class TestTriggers:
    def test_without_one_where_one_is_needed_is_one_clear_error(self, needing):
        model, watch = in_use(SMALL), Watch()
        before = snapshot(model)
        with pytest.raises(UsageError, match=r"expected a .*trigger.*got none\. .*trigger") as caught:
            mended(needing, model=model, triggers=(), progress=watch)

        assert type(caught.value) is UsageError
        assert snapshot(model) == before
        assert not watch.totals

    def test_without_one_where_none_is_needed_all_is_well(self, needless):
        made = mended(needless, triggers=()).model

        assert made.digest() != SMALL.model().digest() or needless.name in MAY_FIND_NOTHING
        assert made.logits(SMALL.images(1, "other").images()).isfinite().all()

    @every_size
    @pytest.mark.parametrize("which", [[0], [1], [2], [0, 1, 2]], ids=["patch", "perturbation", "warp", "all"])
    def test_every_kind_will_do_and_stays_as_it_is(self, repair, planted, which):
        given, twins = (every_kind_of_trigger(planted.shape) for _ in range(2))
        made = mended(repair, planted, triggers=[given[i] for i in which]).model

        assert made.logits(planted.images(1, "other").images()).isfinite().all()
        assert [[exact(v) for v in vars(trigger).values()] for trigger in given] == [
            [exact(v) for v in vars(trigger).values()] for trigger in twins
        ]


class TestControl:
    def test_it_is_a_repair_that_needs_no_trigger_and_is_its_own_control(self, repair):
        control = repair.control

        assert isinstance(control, Repair)
        assert control.needs_triggers is False
        assert control.control == control
        assert REPAIRS.create(mended(control, triggers=()).repair) == control

    @pytest.mark.parametrize("count", [3, 33, 70])
    def test_it_makes_as_many_updates_of_the_same_size(self, learning, count):
        settings = {"epochs": 2, "updates": 5, "batch_size": 7, "optimizer": "sgd(lr=0.01)", "schedule": "constant"}
        has = {field.name for field in dataclasses.fields(learning)}
        images = SMALL.images(count, "repair").subset(range(count))
        for one in (learning, dataclasses.replace(learning, **{k: v for k, v in settings.items() if k in has})):
            model, other = SMALL.model(), SMALL.model()
            with updates(model) as sizes:
                mended(one, model=model, clean=images)
            with updates(other) as others:
                mended(one.control, model=other, clean=images, triggers=())

            assert sizes
            assert sizes == others


class TestSurroundings:
    def test_the_grad_mode_stays(self, repair):
        with torch.enable_grad():
            mended(repair)

            assert torch.is_grad_enabled()

    def test_nothing_is_printed(self, repair, capfd):
        mended(repair)

        assert capfd.readouterr() == ("", "")

    def test_progress_comes_to_its_total_and_changes_nothing(self, repair):
        watch = Watch()
        quiet, watched = mended(repair), mended(repair, progress=watch)

        assert watch.totals
        assert watch.done == pytest.approx(watch.totals)
        assert facts(watched) == facts(quiet)
