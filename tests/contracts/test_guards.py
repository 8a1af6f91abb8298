"""What every guard promises, whatever its method; run with its ``quick`` spec on small planted models."""

import math

import numpy as np
import pytest
import torch

from mantrap.core import Classifier, FittedGuard, Guard, ImageSet, ReversedPatch, ReversedPerturbation, Rng
from mantrap.errors import DataError, FailedError, RecordError, UsageError
from mantrap.guard import ABSTAINED, GUARDS, GuardedClassifier, scores_over
from mantrap.workflow.kept_guards import load_guard, save_guard
from tests.contracts.families import by_triggers
from tests.contracts.test_detectors import Watch, global_streams
from tests.contracts.test_detectors_and_models import breaking_at, in_use, snapshot
from tests.guarding import CLEAN, FPR, MODEL, PLANT, TRIGGER, VAST, guarded, stamped
from tests.poisoning import SETS, classifier, for_each_shape, image_set, unmoved
from tests.scans import EVERY_SIZE, SMALL, exact

every_size = pytest.mark.parametrize("planted", EVERY_SIZE, ids=str)


guard, needing, needless = by_triggers(GUARDS)


def patch(shape, target=1):
    """A patch in a corner."""
    mask = torch.zeros(shape[1:])
    mask[-3:, -2:] = 0.5
    return ReversedPatch(target, mask, torch.ones(shape))


def fitted(guard, planted=SMALL, *, model=None, clean=None, **keywords) -> FittedGuard:
    model = model or planted.model()
    keywords = {"triggers": (patch(model.input_shape),), "rng": Rng(0), "fpr": 0.1} | keywords
    return guard.fit(model, clean or planted.images(-(-40 // planted.classes), "guard"), **keywords)


def facts(found):
    """Everything that a fitted guard holds but its model, tensors as bytes: equal only if bitwise equal."""
    plain = {name: value for name, value in vars(found).items() if name not in ("model", "learned", "scorer")}
    return plain | {name: exact(tensor) for name, tensor in found.learned.items()}


def test_a_guard_is_what_the_protocol_says(guard):
    assert isinstance(guard, Guard)
    assert guard.passes >= 1


class TestPlanted:
    """A network whose seventh hidden unit a white square opens, and nothing else does."""

    def test_it_flags_what_carries_the_trigger(self, guard):
        found = guarded(guard)

        assert bool(found.flags(stamped()).all())

    def test_it_flags_about_as_many_clean_images_as_was_asked_for(self, guard):
        share = float((scores_over(guarded(guard), VAST) > guarded(guard).threshold).float().mean())

        assert share <= FPR + 4 * math.sqrt(FPR * (1 - FPR) * (1 / guarded(guard).calibrated_on + 1 / len(VAST)))

    def test_a_guarded_model_abstains_there_and_answers_as_it_did_elsewhere(self, guard):
        found = GuardedClassifier(guarded(guard))
        images = torch.cat([stamped()[:5], CLEAN.images(range(40))])
        flags = found.guard.flags(images)
        answers = found.answers(images)

        assert ABSTAINED == -1
        assert answers[flags].unique().tolist() == [ABSTAINED]
        assert torch.equal(answers[~flags], MODEL.logits(images).argmax(1)[~flags])
        assert torch.equal(found.logits(images), MODEL.logits(images))
        assert (int(flags[:5].sum()), bool(flags.all())) == (5, False)

    def test_the_threshold_comes_from_images_that_nothing_else_was_learned_from(self, guard):
        found = guarded(guard)
        scores = scores_over(found, CLEAN)

        assert 2 * found.calibrated_on == len(CLEAN)
        assert int((scores == found.threshold).sum()) >= 1
        assert int((scores >= found.threshold).sum()) >= math.floor(FPR * (found.calibrated_on + 1))


class TestScores:
    @every_size
    def test_there_is_a_finite_one_for_each_image_of_every_size(self, guard, planted):
        model = Classifier(
            planted.network(),
            input_shape=planted.shape,
            num_classes=planted.classes,
            mean=(127.5,),
            std=(63.75,),
            pixel_range=(0, 255),
        )
        found = fitted(guard, planted, model=model)
        images = planted.images(3, "others").images()
        scores = found.score(images)

        assert scores.shape == (len(images),)
        assert scores.dtype == torch.float32
        assert scores.isfinite().all()
        assert math.isfinite(found.threshold)
        assert torch.equal(found.flags(images), scores > found.threshold)
        assert len(scores.unique()) > 1

    def test_an_image_has_the_same_one_alone_and_among_others(self, guard):
        found, images = fitted(guard), SMALL.images(3, "others").images()
        alone = torch.cat([found.score(one[None]) for one in images])

        assert torch.allclose(found.score(images), alone, atol=1e-4)

    def test_no_images_have_none(self, guard):
        assert fitted(guard).score(torch.zeros(0, *SMALL.shape)).shape == (0,)

    def test_over_a_set_they_are_those_of_its_images_in_their_order_after_a_change(self, guard):
        found, images = fitted(guard), SMALL.images(70, "others")

        assert torch.allclose(scores_over(found, images), found.score(images.images()), atol=1e-4)
        turned = scores_over(found, images, lambda batch: batch.flip(3))
        assert torch.allclose(turned, found.score(images.images().flip(3)), atol=1e-4)
        assert not torch.allclose(turned, found.score(images.images()), atol=1e-4)

    def test_images_of_another_shape_are_refused(self, guard):
        with pytest.raises(DataError, match="expected images of 1x7x9, as the model takes them, got some of 1x9x7"):
            fitted(guard).score(torch.zeros(2, 1, 9, 7))

    def test_answers_that_are_no_numbers_are_refused(self, guard):
        model = SMALL.model()
        found = fitted(guard, model=model)
        with torch.no_grad():
            model.module.linear.weight.fill_(math.nan)
            model.module.still.running_mean.fill_(math.nan)
        with pytest.raises(FailedError, match="expected finite"):
            found.score(SMALL.images(1, "others").images())


class TestFile:
    def test_a_guard_that_was_saved_scores_bitwise_as_before(self, guard, tmp_path):
        model = SMALL.model()
        found = fitted(guard, model=model)
        save_guard(tmp_path / "a.guard.safetensors", found)
        again = load_guard(tmp_path / "a.guard.safetensors", model)
        images = SMALL.images(3, "others").images()

        assert torch.equal(again.score(images), found.score(images))
        unlike = {"cost": None, "notes": None}
        assert facts(again) | unlike == facts(found) | unlike

    def test_the_file_holds_no_code(self, guard, tmp_path):
        save_guard(tmp_path / "a.guard.safetensors", fitted(guard))

        assert b"pickle" not in (tmp_path / "a.guard.safetensors").read_bytes()
        assert not (tmp_path / "a.guard.safetensors").read_bytes().startswith((b"PK", b"\x80"))

    def test_for_another_model_it_is_refused_by_its_digest(self, guard, tmp_path):
        found = fitted(guard)
        save_guard(tmp_path / "a.guard.safetensors", found)
        other = SMALL.model()
        with torch.no_grad():
            other.module.linear.bias[0] += 1e-3
        with pytest.raises(UsageError, match=r"a\.guard\.safetensors was fitted for, with the digest .* got one with"):
            load_guard(tmp_path / "a.guard.safetensors", other)

    @pytest.mark.parametrize("spoil", ["drop", "shape", "nan"])
    def test_what_does_not_fit_is_one_clear_error(self, guard, spoil, tmp_path):
        model = SMALL.model()
        found = fitted(guard, model=model)
        for name in found.learned:
            wrong = dict(found.learned)
            if spoil == "drop":
                del wrong[name]
            elif spoil == "shape":
                wrong[name] = wrong[name][None]
            else:
                wrong[name] = wrong[name].float() * math.nan
            save_guard(tmp_path / "a.guard.safetensors", FittedGuard(**{**_fields(found), "learned": wrong}))
            with pytest.raises(RecordError, match="expected the guard of a model in"):
                load_guard(tmp_path / "a.guard.safetensors", model)


def _fields(found):
    return {name: value for name, value in vars(found).items() if name != "scorer"}


class TestRandomness:
    def test_the_same_stream_gives_bitwise_the_same_guard(self, guard):
        assert facts(fitted(guard, rng=Rng(3))) == facts(fitted(guard, rng=Rng(3)))

    def test_another_stream_parts_the_images_otherwise(self, guard):
        assert facts(fitted(guard, rng=Rng(3))) != facts(fitted(guard, rng=Rng(4)))

    def test_the_global_streams_are_neither_read_nor_moved(self, guard):
        found = []
        for seed in (1, 2):
            np.random.seed(seed)  # noqa: NPY002 - the global stream is the point
            torch.manual_seed(seed)
            before = global_streams()
            one = fitted(guard)
            found.append((facts(one), one.score(SMALL.images(2, "others").images()).tolist()))
            assert global_streams() == before

        assert found[0] == found[1]


class TestModel:
    def test_it_is_bitwise_unchanged_by_fitting_and_by_scoring(self, guard):
        model = in_use()
        before, digest = snapshot(model), model.digest()
        found = fitted(guard, model=model)
        found.score(SMALL.images(2, "others").images())
        GuardedClassifier(found).answers(SMALL.images(2, "others").images())

        assert snapshot(model) == before
        assert model.digest() == digest

    def test_it_is_bitwise_unchanged_whichever_forward_pass_raises(self, guard):
        whole, calls = in_use(), []
        whole.module.drop.register_forward_hook(lambda *_: calls.append(None))
        fitted(guard, model=whole)

        assert calls
        for call in range(len(calls)):
            model = in_use()
            before = snapshot(model)
            with pytest.raises(ConnectionAbortedError), breaking_at(model.module, call):
                fitted(guard, model=model)
            assert snapshot(model) == before

    def test_its_mode_makes_no_difference(self, guard):
        found = []
        for training in (True, False):
            model = SMALL.model()
            model.module.train(training)
            found.append(facts(fitted(guard, model=model)))

        assert found[0] == found[1]

    @for_each_shape(SETS)
    def test_a_network_with_convolutions_stays_as_it_is_as_do_its_images(self, guard, shape, capsys):
        model, images = classifier(shape), image_set(shape)
        with unmoved(capsys, model=model, data=images):
            found = fitted(guard, model=model, clean=images)
            assert found.score(images.images()).isfinite().all()

        assert all(tensor.is_contiguous() and not tensor.requires_grad for tensor in found.learned.values())


class TestImages:
    def test_labels_are_not_looked_at(self, guard):
        clean = SMALL.images(10, "guard")
        # Splits share out each label, so images without labels are parted otherwise: wrong ones of the same kind.
        renamed = clean.with_labels(SMALL.classes - 1 - clean.labels)

        assert fitted(guard, clean=clean.unlabelled()).threshold == pytest.approx(
            fitted(guard, clean=ImageSet(clean.source)).threshold
        )
        assert math.isfinite(fitted(guard, clean=renamed).threshold)

    @pytest.mark.parametrize(("fpr", "needed"), [(0.05, 38), (0.1, 18), (0.01, 198)])
    def test_too_few_for_the_rate_are_refused_and_it_is_said_how_many_are_needed(self, guard, fpr, needed):
        few = SMALL.images(50, "guard").unlabelled().subset(range(needed - 2))
        with pytest.raises(
            UsageError, match=rf"at least {needed} different images .* got {needed - 2}, .* Give {needed} images"
        ):
            fitted(guard, clean=few, fpr=fpr)

        enough = SMALL.images(50, "guard").unlabelled().subset(range(needed))
        assert math.isfinite(fitted(guard, clean=enough, fpr=fpr).threshold)

    def test_where_a_group_stays_together_more_are_asked_for_than_there_are(self, guard):
        images = SMALL.images(10, "guard").unlabelled()
        images = ImageSet(images.source, groups=["all but one"] * 39 + ["one"])
        said = []
        for seed in range(8):  # by chance the threshold gets the one image, or the guard
            try:
                fitted(guard, clean=images, rng=Rng(seed))
            except UsageError as error:
                said.append(str(error))
        too_few = [text for text in said if "at least 18 different images" in text]

        assert too_few
        assert all("got 40, of which 1. Give 41" in text for text in too_few)

    def test_equal_ones_count_once(self, guard):
        same = SMALL.images(10, "guard").subset([0] * 40)
        with pytest.raises(UsageError, match=r"different images .* got 1, of which 0\."):
            fitted(guard, clean=same)

    @pytest.mark.parametrize("fpr", [0.0, 1.0, -0.1, math.nan])
    def test_a_rate_out_of_range_is_refused(self, guard, fpr):
        with pytest.raises(UsageError, match="rate above 0 and below 1"):
            fitted(guard, fpr=fpr)

    def test_images_of_another_shape_are_refused(self, guard):
        with pytest.raises(DataError, match="expected images of 1x7x9, as the model takes them, got"):
            fitted(guard, clean=EVERY_SIZE[1].images(10, "guard"))


class TestTriggers:
    def test_without_one_where_one_is_needed_is_one_clear_error(self, needing):
        with pytest.raises(UsageError, match=r"expected a recovered trigger.*got none\. .*trigger"):
            fitted(needing, triggers=())

    def test_where_none_is_needed_none_is_looked_at(self, needless):
        assert facts(fitted(needless, triggers=())) == facts(fitted(needless))

    @pytest.mark.parametrize(
        ("trigger", "message"),
        [
            (patch((1, 9, 7)), "triggers for images of 1x7x9"),
            (patch(SMALL.shape, 4), "labels 0 to 3, got one for label 4"),
        ],
    )
    def test_one_that_does_not_fit_the_model_is_refused(self, guard, trigger, message):
        with pytest.raises(UsageError, match=message):
            fitted(guard, triggers=(trigger,))

    def test_several_of_several_kinds_will_do(self, guard):
        change = ReversedPerturbation(0, torch.rand(SMALL.shape, generator=Rng(0).torch()) - 0.5)
        found = fitted(guard, triggers=(patch(SMALL.shape), change))

        assert found.score(SMALL.images(1, "others").images()).isfinite().all()

    def test_of_several_each_is_kept_out(self, needing):
        found = guarded(needing, (TRIGGER, PLANT.other))

        assert bool(found.flags(stamped()).all())
        assert bool(found.flags(stamped(PLANT.other)).all())


class TestSurroundings:
    def test_the_grad_mode_stays_and_scores_have_no_gradient(self, guard):
        with torch.enable_grad():
            found = fitted(guard)
            scores = found.score(SMALL.images(1, "others").images().requires_grad_())

            assert torch.is_grad_enabled()
            assert not scores.requires_grad

    def test_nothing_is_printed(self, guard, capfd):
        fitted(guard).score(SMALL.images(1, "others").images())

        assert capfd.readouterr() == ("", "")

    def test_progress_comes_to_its_total_and_changes_nothing(self, guard):
        watch = Watch()
        quiet, watched = fitted(guard), fitted(guard, progress=watch)

        assert watch.totals
        assert watch.done == pytest.approx(watch.totals)
        assert facts(watched) == facts(quiet)

    def test_the_cost_is_what_went_through_the_model(self, guard):
        model = SMALL.model()
        seen = []
        model.module.register_forward_pre_hook(lambda _module, inputs: seen.append(len(inputs[0])))
        found = fitted(guard, model=model)
        shown = sum(seen) - seen.count(1)  # blank images, of which readers are learned

        assert (found.cost.forward, found.cost.backward) == (shown, 0)
        seen.clear()
        found.score(SMALL.images(3, "others").images())
        assert sum(seen) - seen.count(1) == guard.passes * 12
