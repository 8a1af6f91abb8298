"""The examples of a suspect are real images of other classes, and what the model says of them is what it says."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import Cost, Detection, ReversedPatch, ReversedPerturbation, ReversedWarp, Rng
from mantrap.models import wrap
from mantrap.ops.intervals import wilson
from mantrap.workflow.evidence import EXAMPLES, marked, suspect_records
from mantrap.workflow.norms import Judged
from tests import stage

MODEL = stage.model(planted=True)
MASK = torch.zeros(stage.SIDE, stage.SIDE)
MASK[-2:, -2:] = 1.0
PATTERN = torch.ones(1, stage.SIDE, stage.SIDE)
SHIFT = torch.tensor([2.0, 0.0])[:, None, None].expand(2, stage.SIDE, stage.SIDE)
REARRANGED = 4 * 25
"""Three other places and one shuffling, for the 25 of 30 images that are of other classes."""


def trigger(target=stage.TARGET):
    return ReversedPatch(target, MASK, PATTERN)


def judged(label=stage.TARGET, index=4.0, hits=9):
    success = None if hits is None else wilson(hits, 10)
    return Judged(label=label, norm=6.0, index=index, log_ratio=1.2, success=success)


def records(images, found=None, **options):
    return suspect_records(MODEL, images, [("d", judged(**options), found or trigger())], Rng(0))


def pixels(shown):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.png))))


def test_examples_are_of_other_classes_one_of_each_before_a_second():
    (record,), _ = records(stage.image_set(30))
    classes = [e.true_class for e in record.examples]
    assert len(classes) == EXAMPLES
    assert set(classes) == {"0", "1", "2", "3", "5"}
    assert classes[5] == "0"


def test_examples_show_the_image_before_and_after_and_what_the_model_says():
    images = stage.image_set(30)
    (record,), _ = records(images)
    logits = MODEL.logits(images.images()).detach().softmax(1)
    for number, example in zip([0, 1, 2, 3, 5, 6], record.examples, strict=True):
        before = (images.images([number])[0, 0] * 255).round().byte().numpy()
        after = before.copy()
        after[-2:, -2:] = 255
        assert np.array_equal(pixels(example.before), before)
        assert np.array_equal(pixels(example.after), after)
        assert example.source.label == number % stage.CLASSES
        assert example.source.confidence == pytest.approx(float(logits[number].max()), rel=1e-5)
        assert example.outcome.label == stage.TARGET
        assert example.outcome.confidence > 0.99


def test_without_labels_the_models_own_answer_is_the_class_and_nothing_is_called_true():
    (record,), cost = records(stage.image_set(30, labelled=False))
    assert [e.source.label for e in record.examples] == [0, 1, 2, 3, 5, 0]
    assert {e.true_class for e in record.examples} == {None}
    assert (cost.forward, cost.backward) == (30 + 2 * EXAMPLES + REARRANGED, 0)


def test_the_cost_with_labels_is_that_of_the_examples_alone():
    _, cost = records(stage.image_set(30))
    assert (cost.forward, cost.backward) == (2 * EXAMPLES + REARRANGED, 0)


def test_an_example_is_shown_also_where_the_trigger_fails_on_it():
    # This trigger leads to class 4; asked to show class 0, nothing arrives there.
    (record,), _ = records(stage.image_set(30), trigger(0), label=0)
    assert record.elsewhere.value == record.shuffled.value == 0.0
    assert [e.true_class for e in record.examples] == ["1", "2", "3", "4", "5", "1"]
    assert {e.outcome.label for e in record.examples} == {stage.TARGET}


def test_the_record_says_what_was_judged():
    (record,), _ = records(stage.image_set(30))
    assert (record.label, record.class_name, record.detector, record.norm) == (4, "4", "d", 4.0)
    assert record.size == "4.0 pixels' worth of change"
    assert (record.index, record.flagged_by_paper, record.success) == (4.0, True, 0.9)
    assert np.array_equal(pixels(record.mask), (MASK * 255).byte().numpy())
    assert np.array_equal(pixels(record.pattern), np.full((16, 16), 255))
    assert np.array_equal(pixels(record.trigger)[..., 3], (MASK * 255).byte().numpy())


def test_the_record_says_how_the_trigger_works_elsewhere_and_shuffled():
    # White in the lower right corner is what the planted model reacts to, and nothing else.
    (record,), _ = records(stage.image_set(30))
    assert (record.elsewhere.value, record.elsewhere.total) == (0.0, 25)
    assert (record.shuffled.value, record.shuffled.total) == (0.0, 25)


def test_an_infinite_index_is_left_out_but_flagged():
    (record,), _ = records(stage.image_set(30), index=float("inf"))
    assert (record.index, record.flagged_by_paper) == (None, True)


def test_a_trigger_whose_success_is_not_known_is_no_evidence():
    assert records(stage.image_set(30), hits=None)[0] == ()


@pytest.mark.parametrize(("planted", "works"), [(True, 25), (False, 0)])
def test_the_record_says_how_the_trigger_works_on_a_copy_and_that_costs_two_answers_an_image(planted, works):
    copied = stage.model(planted=planted)
    (record,), cost = suspect_records(MODEL, stage.image_set(30), [("d", judged(), trigger())], Rng(0), copy=copied)

    assert (record.on_copy.hits, record.on_copy.total) == (works, 25)
    assert (cost.forward, cost.backward) == (2 * EXAMPLES + REARRANGED + 2 * 30, 0)


def test_without_a_copy_nothing_is_said_of_one():
    (record,), _ = records(stage.image_set(30))
    assert record.on_copy is None


def test_a_copy_that_answers_everything_with_the_label_shows_no_trigger_at_work():
    constant = stage.module(planted=False)
    torch.nn.init.zeros_(constant.templates.weight)
    constant.templates.bias.data[stage.TARGET] = 1.0
    copied = wrap(constant, input_shape=(1, stage.SIDE, stage.SIDE))
    (record,), _ = suspect_records(MODEL, stage.image_set(30), [("d", judged(), trigger())], Rng(0), copy=copied)

    assert record.on_copy is None


def test_no_suspects_cost_nothing():
    found, cost = suspect_records(MODEL, stage.image_set(30, labelled=False), [], Rng(0))
    assert (found, cost.forward) == ((), 0)


def test_a_perturbation_is_shown_as_one():
    change = ReversedPerturbation(stage.TARGET, -0.5 * MASK[None])
    (record,), _ = records(stage.image_set(30), change)
    after = stage.image_set(30).images([0])[0, 0]
    after[-2:, -2:] = (after[-2:, -2:] - 0.5).clamp(0, 1)

    assert record.norm == pytest.approx(1.0)
    assert record.size == "a change of all pixels by 6.2 % of their range"
    assert np.array_equal(pixels(record.examples[0].after), (after * 255).round().byte().numpy())
    assert np.array_equal(pixels(record.mask), (MASK * 255).byte().numpy())


def test_a_warp_is_shown_as_one():
    (record,), _ = records(stage.image_set(30), ReversedWarp(stage.TARGET, SHIFT))
    before = stage.image_set(30).images([0])[0, 0]

    assert (record.label, record.norm) == (stage.TARGET, 2.0)
    assert record.size == "a smooth warp by about 2.0 pixels"
    assert np.array_equal(pixels(record.examples[0].after)[:, :-2], (before[:, 2:] * 255).round().byte().numpy())
    assert pixels(record.mask).shape == pixels(record.pattern).shape[:2] == (stage.SIDE, stage.SIDE)
    assert np.array_equal(pixels(record.mask), np.full((stage.SIDE, stage.SIDE), 255))
    assert pixels(record.trigger).shape == (8 * stage.SIDE, 8 * stage.SIDE)


def order(judgements, noticed):
    """Labels and detectors in the order of their showing; each detector has a trigger for all that it judges."""
    found = [
        Detection(name, 9, (), tuple(trigger(j.label) for j in group), (), None, {}, Cost())
        for name, group in judgements.items()
    ]
    return [(j.label, name) for name, j, _ in marked(found, list(judgements.values()), noticed)]


def test_labels_are_shown_as_they_are_noticed_and_each_by_all_who_have_a_trigger():
    three, five, seven = (judged(label) for label in (3, 5, 7))

    assert order({"a": (three, five), "b": (five, seven)}, (7, 5)) == [(7, "b"), (5, "a"), (5, "b")]
    assert order({"a": (three, five)}, ()) == []


def test_a_label_without_a_trigger_or_without_a_norm_is_not_shown():
    without = Detection("a", 9, (), (), (), None, {}, Cost())
    unjudged = Detection("b", 9, (), (trigger(3),), (), None, {}, Cost())

    assert marked([without, unjudged], [(judged(3),), ()], (3,)) == []


def test_the_trigger_that_is_shown_is_that_of_the_label():
    found = Detection("a", 9, (), (trigger(5), trigger(3)), (), None, {}, Cost())
    ((name, one, shown),) = marked([found], [(judged(5), judged(3))], (3,))

    assert (name, one.label, shown.target) == ("a", 3, 3)
