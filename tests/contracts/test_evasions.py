"""What every evasion promises, whatever its method; run with its ``quick`` spec on small planted models.

A planted model without a plant is linear, so how far an image lies from the next class is known in closed form.
"""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from mantrap.core import AWAY, Classifier, CoveringEvasion, Evasion, Goal, Perturbed, Rng, spec_of
from mantrap.errors import DataError, FailedError, ModelError, UsageError
from mantrap.evade import EVASIONS, perturb
from mantrap.ops.projections import NORMS, norms
from tests.contracts.families import those
from tests.contracts.test_detectors import Watch, global_streams
from tests.contracts.test_detectors_and_models import breaking_at, in_use, snapshot
from tests.planted import SCALE
from tests.poisoning import SETS, classifier, for_each_shape, image_set, unmoved
from tests.scans import EVERY_SIZE, SMALL, exact

ONE_STEP = {"fgsm", "rfgsm"}
"""What leads towards a target in one step may stop short of it, or go past it."""

SHARED = {"universal", "adversarial_patch"}
"""What all images share leads those of one class astray at the cost of another: of the class that it leads to."""


def has(field):
    return lambda kind: field in {one.name for one in dataclasses.fields(kind)}


every_size = pytest.mark.parametrize("planted", EVERY_SIZE, ids=str)
evasion = those(EVASIONS)
aiming = those(EVASIONS, lambda kind: kind.aims)
only_away = those(EVASIONS, lambda kind: not kind.aims)
budgeted = those(EVASIONS, has("eps"))
covering = those(EVASIONS, has("size"))
minimal = those(EVASIONS, lambda kind: not has("eps")(kind) and not has("size")(kind))
each_on_its_own = those(EVASIONS, lambda kind: has("eps")(kind) and kind.name not in SHARED)
patient = those(EVASIONS, lambda kind: kind.aims and kind.name not in ONE_STEP)
by_gradients = those(EVASIONS, lambda kind: kind.needs_gradients)
by_answers = those(EVASIONS, lambda kind: not kind.needs_gradients)


def made(evasion, planted=SMALL, *, model=None, images=None, labels=None, **keywords) -> Perturbed:
    given = planted.images(3, "evade")
    images = given.images() if images is None else images
    labels = given.labels if labels is None else labels
    return perturb(evasion, model or planted.model(), images, labels, **({"rng": Rng(0)} | keywords))


def facts(perturbed):
    return {name: exact(value) for name, value in vars(perturbed).items()}


def next_class(planted):
    return Goal((planted.images(3, "evade").labels + 1) % planted.classes)


def pixels(planted):
    return planted.images(3, "evade").images()


def logits(planted, images):
    model = planted.model()
    with model.frozen(), torch.no_grad():
        return model.logits(images)


def answers(planted, images):
    return logits(planted, images).argmax(1)


def generous(evasion, planted):
    """The same with a large budget, if it has one; for a patch that is the whole image."""
    if has("size")(evasion):
        return dataclasses.replace(evasion, size=planted.shape[1:])
    if not has("eps")(evasion):
        return evasion
    return dataclasses.replace(evasion, eps={"linf": 0.45, "l2": 6.0, "l1": 60.0}[evasion.norm])


def distances(planted, norm):
    """How far each image is from the nearest other class, were there no box, [n]."""
    given, said = planted.images(3, "evade"), logits(planted, pixels(planted))
    slopes = planted.templates * SCALE / (planted.templates[0].numel() * planted.amplitude)
    apart = (slopes[given.labels][:, None] - slopes[None]).flatten(2)
    dual = {"linf": 1, "l2": 2, "l1": math.inf}[norm]
    gaps = said.gather(1, given.labels[:, None]) - said
    return (gaps / apart.norm(p=dual, dim=2)).masked_fill(gaps == 0, math.inf).amin(1)


def test_an_evasion_is_what_the_protocol_says(evasion):
    assert isinstance(evasion, Evasion)
    assert isinstance(evasion, CoveringEvasion) or evasion.norm in NORMS


class TestResult:
    @every_size
    def test_images_keep_their_shape_and_their_range(self, evasion, planted):
        found = made(evasion, planted)

        assert found.images.shape == pixels(planted).shape
        assert found.images.dtype == torch.float32
        assert 0.0 <= float(found.images.min()) <= float(found.images.max()) <= 1.0
        assert not found.images.requires_grad

    @every_size
    def test_a_budget_is_kept(self, budgeted, planted):
        change = made(budgeted, planted).images - pixels(planted)

        assert float(norms(change, budgeted.norm).max()) <= budgeted.eps * (1 + 1e-5)
        assert float(norms(change, budgeted.norm).max()) > 0

    @every_size
    def test_one_that_covers_changes_one_rectangle_and_nothing_else(self, covering, planted):
        changed = ((made(covering, planted).images - pixels(planted)) != 0).any(1)

        for image in changed:
            rows, columns = (image.any(side).nonzero()[:, 0] for side in (1, 0))
            assert int(rows[-1] - rows[0]) < covering.size[0]
            assert int(columns[-1] - columns[0]) < covering.size[1]

    @every_size
    def test_what_all_images_share_misleads_those_of_half_of_the_classes_at_least(self, planted):
        labels = planted.images(3, "evade").labels
        for evasion in (EVASIONS.create(EVASIONS.kind(name).quick) for name in sorted(SHARED)):
            stood = answers(planted, made(generous(evasion, planted), planted).images) == labels

            assert len(labels[stood].unique()) <= planted.classes // 2

    @every_size
    def test_a_generous_budget_misleads_a_linear_model_on_every_image(self, each_on_its_own, planted):
        eps = 3 * float(distances(planted, each_on_its_own.norm).max())
        found = made(dataclasses.replace(each_on_its_own, eps=eps), planted)

        assert not bool((answers(planted, found.images) == planted.images(3, "evade").labels).any())

    @every_size
    def test_too_small_a_budget_misleads_it_on_none(self, budgeted, planted):
        eps = 0.99 * float(distances(planted, budgeted.norm).min())
        found = made(dataclasses.replace(budgeted, eps=eps), planted)

        assert torch.equal(answers(planted, found.images), planted.images(3, "evade").labels)

    @every_size
    def test_one_of_the_smallest_norm_misleads_it_and_goes_no_shorter_than_is_possible(self, minimal, planted):
        found, nearest = made(minimal, planted), distances(planted, minimal.norm)
        lengths = norms(found.images - pixels(planted), minimal.norm)

        assert not bool((answers(planted, found.images) == planted.images(3, "evade").labels).any())
        assert bool((lengths >= nearest * (1 - 1e-3)).all())

    @every_size
    def test_a_target_is_reached(self, patient, planted):
        found = made(generous(patient, planted), planted, goal=next_class(planted))

        assert torch.equal(answers(planted, found.images), next_class(planted).targets)

    @every_size
    def test_a_target_becomes_likelier_in_any_case(self, aiming, planted):
        targets = next_class(planted).targets[:, None]
        found = made(generous(aiming, planted), planted, goal=next_class(planted)).images
        likely = [logits(planted, images).softmax(1).gather(1, targets) for images in (pixels(planted), found)]

        assert bool((likely[1] > likely[0]).all())

    def test_its_spec_builds_the_evasion_again(self, evasion):
        assert EVASIONS.create(made(evasion).evasion) == evasion

    def test_its_cost_is_what_went_through_the_model(self, evasion):
        forward, backward, model = [], [], SMALL.model()
        model.module.register_forward_pre_hook(lambda _, inputs: forward.append(len(inputs[0])))
        model.module.linear.register_full_backward_hook(lambda _, __, slopes: backward.append(len(slopes[0])))
        found = made(evasion, model=model)

        assert found.cost.forward == sum(forward)
        assert found.cost.backward == sum(backward)
        assert (found.cost.backward > 0) == evasion.needs_gradients
        assert found.cost.forward > 0

    def test_an_image_that_is_mistaken_already_is_no_hindrance(self, evasion):
        labels = next_class(SMALL).targets

        assert made(evasion, labels=labels).images.isfinite().all()

    def test_one_of_the_smallest_norm_leaves_it_as_it_is(self, minimal):
        labels = next_class(SMALL).targets

        assert torch.equal(made(minimal, labels=labels).images, pixels(SMALL))

    @pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
    def test_images_of_one_grey_stay_finite_and_in_range(self, evasion, grey):
        images = torch.full_like(pixels(SMALL), grey)
        found = made(evasion, images=images).images

        assert 0.0 <= float(found.min()) <= float(found.max()) <= 1.0

    def test_one_image_will_do(self, evasion):
        given = SMALL.images(3, "evade")

        assert made(evasion, images=given.images()[:1], labels=given.labels[:1]).images.shape[0] == 1


class TestRandomness:
    def test_the_same_stream_gives_bitwise_the_same(self, evasion):
        assert facts(made(evasion, rng=Rng(3))) == facts(made(evasion, rng=Rng(3)))

    @pytest.mark.parametrize("seed", [1, 2])
    def test_the_global_streams_are_neither_read_nor_moved(self, evasion, seed):
        known = facts(made(evasion))
        np.random.seed(seed)  # noqa: NPY002 - the global stream is the point
        torch.manual_seed(seed)
        before = global_streams()

        assert facts(made(evasion)) == known
        assert global_streams() == before


class TestModel:
    def test_it_is_bitwise_unchanged_whichever_forward_pass_raises(self, evasion):
        calls = []
        counted = SMALL.model()
        counted.module.register_forward_pre_hook(lambda *_: calls.append(len(calls)))
        made(evasion, model=counted)
        for call in (*calls[:: 1 + len(calls) // 20], None):
            model = in_use()
            before = snapshot(model)
            if call is None:
                made(evasion, model=model)
            else:
                with pytest.raises(ConnectionAbortedError), breaking_at(model.module, call):
                    made(evasion, model=model)

            assert snapshot(model) == before

        assert calls

    def test_its_mode_makes_no_difference(self, evasion):
        model = SMALL.model()
        model.module.eval()

        assert facts(made(evasion, model=model)) == facts(made(evasion))
        assert SMALL.model().module.training

    @for_each_shape(SETS)
    def test_a_network_with_convolutions_stays_as_it_is_as_do_its_images(self, evasion, shape, capsys):
        model, images = classifier(shape), image_set(shape)
        pixels, labels = images.images()[:4].clone(), images.labels[:4].clone()
        kept = pixels.clone(), labels.clone()
        with unmoved(capsys, model=model, data=images):
            found = perturb(evasion, model, pixels, labels, rng=Rng(0))

        assert found.images.isfinite().all()
        assert torch.equal(pixels, kept[0])
        assert torch.equal(labels, kept[1])

    def test_its_own_normalisation_lies_inside(self, evasion):
        raw = Classifier(
            SMALL.network(),
            input_shape=SMALL.shape,
            num_classes=SMALL.classes,
            mean=(255 * SMALL.base,),
            std=(255 * SMALL.amplitude,),
            pixel_range=(0, 255),
        )

        # Where the loss is flat rounding says which way a value goes, so only how far the model was misled is compared.
        labels = SMALL.images(3, "evade").labels
        one, other = (cross_entropy(logits(SMALL, made(evasion, model=m).images), labels) for m in (raw, SMALL.model()))
        torch.testing.assert_close(one, other, atol=0, rtol=0.02)


class CutOff(nn.Module):
    """A linear network whose answer does not follow its input."""

    def __init__(self):
        super().__init__()
        self.inner = SMALL.network()
        self.drop = self.inner.drop

    def forward(self, images):
        return self.inner(images).detach()


def around(module):
    return Classifier(
        module, input_shape=SMALL.shape, num_classes=SMALL.classes, mean=(SMALL.base,), std=(SMALL.amplitude,)
    )


class TestBadInput:
    @pytest.mark.parametrize("off", [-0.51, 0.51, math.nan])
    def test_images_outside_the_range_are_one_clear_error(self, evasion, off):
        images = pixels(SMALL)
        images[2, 0, 1, 1] = 0.5 + off
        with pytest.raises(DataError, match=r"expected images in \[0, 1\], got values from"):
            made(evasion, images=images)

    def test_so_are_images_of_another_shape(self, evasion):
        images = EVERY_SIZE[1].images(3, "evade").images()
        with pytest.raises(DataError, match=r"expected images of shape \(1, 7, 9\).*got \(3, 9, 7\)"):
            made(evasion, images=images)

    def test_no_images(self, evasion):
        given = SMALL.images(3, "evade")
        with pytest.raises(DataError, match="expected images to perturb, got none"):
            made(evasion, images=given.images()[:0], labels=given.labels[:0])

    @pytest.mark.parametrize("off", [-1, 4])
    def test_labels_that_the_model_does_not_have(self, evasion, off):
        labels = SMALL.images(3, "evade").labels.clone()
        labels[0] = off
        with pytest.raises(DataError, match="expected labels from 0 to 3"):
            made(evasion, labels=labels)

    def test_labels_of_another_number(self, evasion):
        with pytest.raises(DataError, match="expected 12 labels, one for each image, got 3"):
            made(evasion, labels=torch.arange(3))

    def test_a_target_that_is_the_images_own_class(self, aiming):
        with pytest.raises(UsageError, match="another class than its own, got 12 of 12"):
            made(aiming, goal=Goal(SMALL.images(3, "evade").labels))

    def test_a_target_that_the_model_does_not_have(self, aiming):
        with pytest.raises(UsageError, match="expected targets from 0 to 3"):
            made(aiming, goal=Goal(next_class(SMALL).targets + 4))

    def test_a_target_where_none_can_be_had(self, only_away):
        with pytest.raises(UsageError, match=r"expected no targets for .*which only leads away"):
            made(only_away, goal=next_class(SMALL))

    def test_a_budget_beyond_the_pixels_range(self, budgeted):
        shape = torch.Size(SMALL.shape).numel()
        most = {"linf": 1.0, "l2": math.sqrt(shape), "l1": float(shape)}[budgeted.norm]
        with pytest.raises(UsageError, match=r"eps.*of at most"):
            made(dataclasses.replace(budgeted, eps=1.01 * most))

    def test_a_patch_larger_than_the_images(self, covering):
        with pytest.raises(UsageError, match=r"fits into 7x9 pixels, got 8x1"):
            made(dataclasses.replace(covering, size=(8, 1)))

    @pytest.mark.parametrize("eps", [0.0, -0.1])
    def test_a_budget_that_is_none(self, budgeted, eps):
        with pytest.raises(UsageError, match="eps above 0"):
            dataclasses.replace(budgeted, eps=eps)

    def test_a_model_whose_answer_is_cut_off_from_the_pixels_where_gradients_are_needed(self, by_gradients):
        with pytest.raises(ModelError, match="expected an answer that has a gradient by the pixels"):
            made(by_gradients, model=around(CutOff()))

    def test_elsewhere_it_is_misled_as_well(self, by_answers):
        found = made(by_answers, model=around(CutOff()))

        assert torch.equal(found.images, made(by_answers).images)

    def test_an_answer_that_is_no_number(self, evasion):
        model = SMALL.model()
        model.module.linear.bias.data.fill_(math.nan)
        with pytest.raises(FailedError, match="finite"):
            made(evasion, model=model)


class TestSurroundings:
    @pytest.mark.parametrize("mode", [True, False])
    def test_the_grad_mode_stays_and_changes_nothing(self, evasion, mode):
        with torch.set_grad_enabled(mode):
            found = made(evasion)

            assert torch.is_grad_enabled() is mode
        assert facts(found) == facts(made(evasion))

    def test_nothing_is_printed(self, evasion, capfd):
        made(evasion)

        assert capfd.readouterr() == ("", "")

    def test_progress_comes_to_its_total_and_changes_nothing(self, evasion):
        watch = Watch()
        quiet, watched = made(evasion), made(evasion, progress=watch)

        assert watch.done == pytest.approx(watch.totals)
        assert facts(watched) == facts(quiet)


def test_two_evasions_are_told_apart_by_their_specs():
    specs = [str(spec_of(EVASIONS.create(kind.quick))) for kind in EVASIONS]

    assert len(set(specs)) == len(specs)
    assert AWAY.targets is None
