"""What every attack promises; a new one is covered by its line in the registry."""

import dataclasses
from contextlib import contextmanager
from functools import lru_cache

import pytest
import torch

from mantrap.core import Rng, spec_of
from mantrap.core.attack import DataAttack, ModelAttack
from mantrap.errors import DataError, OutputError, SpecError, UsageError
from mantrap.measure import trigger_of
from mantrap.poison import ATTACKS, RELABELLINGS
from tests.poisoning import (
    LABELS,
    SETS,
    assert_a_trigger_is_sound,
    assert_the_truth_is_true,
    classifier,
    for_each,
    for_each_shape,
    image_set,
    noise,
    unmoved,
)

ONE_EPOCH, TWO_EPOCHS = (f"recipe(epochs={epochs}, batch_size=20)" for epochs in (1, 2))

ALL = list(ATTACKS)
ON_DATA = [kind for kind in ALL if isinstance(kind(), DataAttack)]
ON_MODELS = [kind for kind in ALL if isinstance(kind(), ModelAttack)]


def having(option):
    """The attacks that have this option."""
    return [kind for kind in ALL if option in {field.name for field in dataclasses.fields(kind)}]


def run(attack, shape, *, seed=0, **keywords):
    """A data attack's ``Poisoned`` or a model attack's ``Implanted``."""
    data, model = keywords.pop("data", None) or image_set(shape), keywords.pop("model", None) or classifier(shape)
    if isinstance(attack, DataAttack):
        return attack.apply(data, model=model, rng=Rng(seed), **keywords)
    return attack.implant(model, data, **{"recipe": ONE_EPOCH, "rng": Rng(seed)} | keywords)


@lru_cache
def done(kind, shape):
    return run(ATTACKS.create(kind.quick), shape)


def facts(result):
    """Everything that came out: equal only if bitwise equal."""
    tensors = {name: tensor.detach().numpy().tobytes() for name, tensor in result.tensors.items()}
    return result.truth, tensors, result.model.digest() if hasattr(result, "model") else result.data.digest()


class TestAttack:
    @for_each(ALL)
    def test_it_is_what_one_protocol_says(self, kind):
        assert isinstance(kind(), DataAttack) != isinstance(kind(), ModelAttack)
        assert ATTACKS.create(str(spec_of(ATTACKS.create(kind.quick)))) == ATTACKS.create(kind.quick)

    @for_each(ALL)
    @for_each_shape(SETS)
    def test_its_truth_names_the_attack_the_seed_and_the_aim_of_each_backdoor(self, kind, shape):
        truth = done(kind, shape).truth

        assert ATTACKS.create(truth.attack) == ATTACKS.create(kind.quick)
        assert truth.seed == 0
        assert truth.backdoors
        assert type(truth).from_json(truth.to_json()) == truth
        for backdoor in truth.backdoors:
            assert backdoor.target == RELABELLINGS.create(backdoor.relabelling).target
            assert {*backdoor.poisoned, *backdoor.covers} <= set(range(len(LABELS)))

    @for_each(ALL)
    @for_each_shape(SETS)
    def test_its_triggers_can_be_made_again_from_truth_and_tensors(self, kind, shape):
        result = done(kind, shape)
        for number in range(len(result.truth.backdoors)):
            assert_a_trigger_is_sound(trigger_of(result.truth, number, result.tensors), shape)

    @for_each(ALL)
    def test_its_tensors_are_plain_and_belong_to_a_backdoor(self, kind):
        result = done(kind, SETS[0])
        numbers = {str(number) for number in range(len(result.truth.backdoors))}

        assert {name.partition(".")[0] for name in result.tensors} <= numbers
        assert all(not tensor.requires_grad and tensor.device.type == "cpu" for tensor in result.tensors.values())

    @for_each(ON_MODELS)
    @for_each_shape(SETS)
    def test_it_can_compute_less_exactly(self, kind, shape):
        recipe = ONE_EPOCH.replace(")", ", precision='bfloat16')")
        result = run(ATTACKS.create(kind.quick), shape, recipe=recipe)

        assert result.training.recipe.endswith("precision='bfloat16')")
        assert all(tensor.dtype != torch.bfloat16 for tensor in result.tensors.values())
        assert all(p.dtype == torch.float32 for p in result.model.module.parameters())

    @for_each(ON_MODELS)
    def test_a_model_that_it_has_trained_comes_with_the_record_of_that(self, kind):
        training = done(kind, SETS[0]).training

        assert len(training.epochs) == 1
        assert training.start_digest == classifier(SETS[0]).digest()
        assert training.stopped == "last epoch"

    @for_each(ALL)
    def test_model_images_global_stream_and_stdout_stay_as_they_are(self, kind, capsys):
        model, data = classifier(SETS[1]), image_set(SETS[1])
        with unmoved(capsys, model=model, data=data):
            result = run(ATTACKS.create(kind.quick), SETS[1], model=model, data=data)
            facts(result)

    @for_each(ALL)
    def test_the_same_stream_gives_the_same_and_another_another(self, kind):
        first, other = (facts(run(ATTACKS.create(kind.quick), SETS[0], seed=seed)) for seed in (0, 1))

        assert first == facts(done(kind, SETS[0]))
        assert first[-1] != other[-1]

    @for_each(ALL)
    def test_images_without_labels_are_refused(self, kind):
        with pytest.raises(DataError, match="label"):
            run(ATTACKS.create(kind.quick), SETS[0], data=image_set(SETS[0]).unlabelled())

    @for_each(having("target"))
    def test_a_target_that_is_no_class_is_refused(self, kind):
        quick = ATTACKS.create(kind.quick)
        with pytest.raises(UsageError, match="99"):
            run(dataclasses.replace(quick, target=99), SETS[0])
        with pytest.raises(SpecError, match="-1"):
            dataclasses.replace(quick, target=-1)

    @for_each(having("rate"))
    def test_a_rate_that_selects_nothing_or_is_none_is_refused(self, kind):
        quick = ATTACKS.create(kind.quick)
        with pytest.raises(UsageError, match="0"):
            run(dataclasses.replace(quick, rate=1e-4), SETS[0])
        for rate in (0.0, 1.01):
            with pytest.raises(SpecError, match="rate"):
                dataclasses.replace(quick, rate=rate)


class TestDataAttack:
    @for_each(ON_DATA)
    @for_each_shape(SETS)
    def test_the_set_differs_where_the_truth_says_and_nowhere_else(self, kind, shape):
        assert_the_truth_is_true(image_set(shape), done(kind, shape))

    @for_each(ON_DATA)
    def test_without_a_model_it_works_or_says_that_it_needs_one(self, kind):
        attack = ATTACKS.create(kind.quick)
        try:
            poisoned = attack.apply(image_set(SETS[0]), rng=Rng(0))
        except UsageError as error:
            assert "a model" in str(error)  # noqa: PT017 - either is right
        else:
            assert facts(poisoned) == facts(done(kind, SETS[0]))


class KilledError(Exception):
    """The machine went down."""


class Counting:
    """An observer that counts reports, and kills the work at one of them."""

    def __init__(self, kill_at=None):
        self.reports, self.kill_at = 0, kill_at

    @contextmanager
    def stage(self, *_):
        yield self

    def advance(self, *_):
        self.reports += 1
        if self.reports == self.kill_at:
            raise KilledError


class TestModelAttack:
    @for_each(ON_MODELS)
    @for_each_shape(SETS)
    def test_the_model_is_another_one_for_the_same_images_and_ready_for_use(self, kind, shape):
        start, implanted = classifier(shape), done(kind, shape).model

        assert (implanted.input_shape, implanted.num_classes) == (start.input_shape, start.num_classes)
        assert implanted.digest() != start.digest()
        assert not any(module.training for module in implanted.module.modules())
        assert all(parameter.requires_grad for parameter in implanted.module.parameters())
        assert bool(implanted.logits(noise(shape)).isfinite().all())

    @for_each(ON_MODELS)
    def test_a_killed_attack_goes_on_where_it_was(self, kind, tmp_path):
        attack, checkpoint, whole = ATTACKS.create(kind.quick), tmp_path / "state.pt", Counting()
        keywords = {"recipe": TWO_EPOCHS, "checkpoint": checkpoint}
        unbroken = run(attack, SETS[0], recipe=TWO_EPOCHS, progress=whole)
        with pytest.raises(KilledError):
            run(attack, SETS[0], **keywords, progress=Counting(kill_at=whole.reports))
        rest = Counting()

        assert facts(run(attack, SETS[0], **keywords, progress=rest)) == facts(unbroken)
        assert rest.reports < whole.reports
        with pytest.raises(OutputError):
            run(attack, SETS[0], seed=1, **keywords)

    @for_each(ON_MODELS)
    def test_a_recipe_that_is_none_is_refused(self, kind):
        with pytest.raises(SpecError):
            run(ATTACKS.create(kind.quick), SETS[0], recipe="recipe(epoch=1)")
