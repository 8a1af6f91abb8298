"""Many searches: apart from each other, side by side, and measured on other images."""

import dataclasses
import math

import pytest
import torch

from mantrap.core import Cost, Detection, Rng
from mantrap.detect import PaperNeuralCleanse, reverse_triggers
from mantrap.errors import FailedError, SpecError, UsageError
from mantrap.ops.outliers import anomaly_indices
from mantrap.ops.scores import trigger_success
from mantrap.ops.stamp import stamp
from tests.planted import Planted

PLANTED = Planted(shape=(1, 10, 12), target=1)
QUICK = PaperNeuralCleanse(steps=60, images_per_step=40, batch_size=20, patience=2, early_stop_patience=4)


def scan(settings: PaperNeuralCleanse = QUICK, **keywords: object) -> Detection:
    heldout = keywords.pop("heldout", None) or PLANTED.images(4, "heldout")
    return settings.detect(PLANTED.model(), PLANTED.images(4, "scan"), heldout=heldout, rng=Rng(2), **keywords)


@pytest.fixture(scope="module")
def everything() -> Detection:
    return scan()


def assert_same(found: Detection, expected: Detection, *, rtol: float) -> None:
    for finding in found.labels:
        other = expected.finding_for(finding.label)
        assert (finding.steps, finding.stopped, finding.censored) == (other.steps, other.stopped, other.censored)
    for trigger in found.triggers:
        other = expected.trigger_for(trigger.target)
        assert trigger.norm == pytest.approx(other.norm, rel=rtol)
        assert torch.allclose(trigger.mask, other.mask, rtol=rtol, atol=rtol)
        assert torch.allclose(trigger.pattern, other.pattern, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("at_once", [2, 3, 5, 100])
def test_labels_side_by_side_are_what_they_would_be_alone(everything, at_once):
    together = scan(dataclasses.replace(QUICK, labels_at_once=at_once))

    # They end at different steps, so that some go on while others have left.
    assert len({finding.steps for finding in everything.labels}) > 1
    assert [finding.label for finding in together.labels] == [0, 1, 2, 3, 4]
    assert_same(together, everything, rtol=1e-4)
    assert together.cost == everything.cost


@pytest.mark.parametrize("labels", [[3], [4, 0]])
def test_every_label_starts_anew(everything, labels):
    """Mask, pattern, optimiser, weight and order of the images: none is carried over from the label before."""
    assert_same(scan(labels=labels), everything, rtol=0.0)


def test_every_label_starts_at_a_place_of_its_own():
    easy = dataclasses.replace(QUICK, steps=1, success_threshold=1e-9)
    first, second = scan(easy, labels=[0, 3]).triggers

    # Two updates at a learning rate of 0.1 move a mask by 0.1 at most.
    assert float((first.mask - second.mask).abs().max()) > 0.5
    assert float((first.pattern - second.pattern).abs().max()) > 0.5


def test_the_index_compares_the_norms_of_labels_that_have_one(everything):
    norms = {finding.label: finding.norm for finding in everything.labels}

    assert everything.indices == dict(zip(norms, anomaly_indices(list(norms.values())), strict=True))
    assert everything.score == max(everything.indices.values())
    assert everything.suspects[0] == PLANTED.target
    assert set(everything.suspects) == {label for label, index in everything.indices.items() if index > 2}
    assert sorted(everything.suspects, key=norms.get) == list(everything.suspects)


def test_its_trait_is_the_share_of_the_image_that_each_labels_mask_covers(everything):
    assert everything.traits == {"patch": {f.label: f.norm / (10 * 12) for f in everything.labels}}
    assert everything.p_value is None


def test_where_every_label_is_censored_there_is_no_score():
    detection = scan(dataclasses.replace(QUICK, steps=1))

    assert all(finding.censored for finding in detection.labels)
    assert [finding.success for finding in detection.labels] == [None] * 5
    assert detection.triggers == ()
    assert (detection.score, detection.indices, detection.suspects) == (None, {}, ())
    assert detection.cost == Cost(forward=5 * 40, backward=5 * 40)


def test_success_is_measured_on_the_heldout_images_of_other_classes(everything):
    heldout = PLANTED.images(4, "heldout")
    assert len(everything.triggers) == 5
    for trigger in everything.triggers:
        expected = trigger_success(
            PLANTED.model(), heldout, lambda batch, t=trigger: stamp(batch, t.mask, t.pattern), trigger.target
        )

        assert everything.finding_for(trigger.target).success == expected
        assert expected.total == 16


def test_other_heldout_images_change_the_success_and_nothing_else(everything):
    # Images of class 1 alone: for label 1 there is nothing to measure.
    ones = PLANTED.images(4, "heldout").subset(range(1, 20, 5))
    other = scan(heldout=ones)

    assert_same(other, everything, rtol=0.0)
    assert other.indices == everything.indices
    assert other.finding_for(1).success is None
    assert [finding.success.total for finding in other.labels if finding.label != 1] == [4] * 4


def test_the_cost_counts_the_search_and_the_measuring(everything):
    searched = sum(finding.steps for finding in everything.labels) * 40
    without_labels = scan(heldout=PLANTED.images(4, "heldout").unlabelled())

    assert everything.cost == Cost(forward=searched + 6 * 20, backward=searched)
    assert without_labels.cost == everything.cost


def test_batch_norm_statistics_do_not_even_move_meanwhile():
    model, seen = PLANTED.model(), []
    still = model.module.still
    still.register_forward_hook(
        lambda *_: seen.append((still.training, still.running_mean.item(), still.running_var.item()))
    )
    reverse_triggers(model, PLANTED.images(4, "scan"), [0], settings=QUICK, rng=Rng(0))

    assert set(seen) == {(False, 0.0, 1.0)}
    assert model.module.training


def test_logits_that_are_no_numbers_end_the_scan():
    model = PLANTED.model()
    model.module.linear.bias.data[2] = math.nan
    with pytest.raises(FailedError, match="finite logits while searching for label 0"):
        QUICK.detect(model, PLANTED.images(4, "scan"), heldout=PLANTED.images(4, "heldout"), rng=Rng(0))


def test_targets_that_the_model_does_not_have_are_all_named():
    with pytest.raises(UsageError, match=r"labels from 0 to 4, got \[7, -2\]"):
        scan(labels=[7, 3, -2])


def test_at_least_one_label_at_once():
    with pytest.raises(SpecError, match="labels_at_once of at least 1, got 0"):
        PaperNeuralCleanse(labels_at_once=0)
    with pytest.raises(SpecError, match="steps of at least 1, got 0"):
        PaperNeuralCleanse(steps=0)
