"""What any repair has to beat: training on with clean images, and nothing else."""

import pytest

from mantrap.core import Cost, Rng
from mantrap.errors import FailedError
from mantrap.repair import FineTuning
from mantrap.training import fit
from tests.contracts.test_detectors import Watch
from tests.repairing import LOWER, PLANTED, Passes, backdoored, dense, equal, right, success

SHORT = FineTuning(updates=6, batch_size=8)


def clean(each=4):
    return PLANTED.images(each, "repair")


def start():
    return dense(PLANTED.shape, PLANTED.classes)


def test_it_is_a_plain_training_on_these_images_with_a_stream_of_its_own():
    found = SHORT.repair(start(), clean(), rng=Rng(5))
    by_hand = fit(start(), clean(), recipe=SHORT.recipe(16), rng=Rng(5).child("fine_tuning")).model

    assert equal(found.model, by_hand)
    assert (found.images, found.cost, found.notes) == (16, Cost(forward=64, backward=48), ())


def test_triggers_are_not_looked_at():
    with_one, without = (SHORT.repair(start(), clean(), triggers=given, rng=Rng(0)) for given in ([LOWER], []))

    assert equal(with_one.model, without.model)
    assert with_one.cost == without.cost


def test_it_learns_the_labels_and_not_the_models_own_answers():
    model = backdoored()
    swapped = clean(16).with_labels((clean(16).labels + 1) % 4)
    found = (
        FineTuning(updates=100, optimizer="adam(lr=0.01)", schedule="cosine").repair(model, swapped, rng=Rng(0)).model
    )

    assert right(model) == 1
    assert right(found) == 0


@pytest.mark.parametrize("labelled", [True, False])
def test_its_cost_is_what_goes_through_the_model(labelled):
    model, images = start(), clean()
    passes = Passes(model)
    found = SHORT.repair(model, images if labelled else images.unlabelled(), rng=Rng(0))

    assert found.cost == Cost(forward=passes.forward, backward=passes.backward)
    assert found.cost.forward - found.cost.backward == (16 if labelled else 32)


def test_a_training_that_diverges_is_an_error():
    wild = FineTuning(updates=20, optimizer="sgd(lr=1e30)", schedule="constant")
    with pytest.raises(FailedError, match="finite"):
        wild.repair(start(), clean(), rng=Rng(0))


def test_it_is_its_own_control():
    assert SHORT.control is SHORT


def test_it_can_be_watched():
    watch = Watch()
    SHORT.repair(start(), clean(), rng=Rng(0), progress=watch)

    assert watch.done == pytest.approx({"train": 3})


def test_by_itself_it_leaves_a_backdoor_as_it_is():
    found = FineTuning(updates=200, optimizer="adam(lr=0.001)").repair(backdoored(), clean(20), rng=Rng(0)).model

    assert success(found, LOWER) > 0.95
    assert right(found) > 0.99
