"""Several triggers on one image are each of them, one after the other."""

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.measure import trigger_of
from mantrap.poison import TRIGGERS, AllToOne, Patch, Poison, RandomShare
from mantrap.poison.triggers.several import Several

GREY = torch.full((40, 3, 12, 12), 0.5)


def put(*specs, images=GREY, seed=0):
    several = Several(triggers=specs)
    data = ImageSet.from_array(torch.rand(2, *images.shape[1:]), [0, 1])
    tensors = several.learn(data, model=None, target=0, rng=Rng(0))
    return several.restore(tensors)(images, rng=Rng(seed)), tensors


def test_all_are_put_on_and_the_last_one_lies_on_top():
    after, tensors = put("patch(size=3, place=(1, 1))", "patch(size=3, place=(2, 2), colour='black')")
    expected = Patch(size=3, place=(1, 1))(GREY, rng=Rng(0))
    expected = Patch(size=3, place=(2, 2), colour="black")(expected, rng=Rng(0))
    assert torch.equal(after, expected)
    assert after[0, 0, 2, 2] == 0.0
    assert after[0, 0, 1, 1] == 1.0
    assert tensors == {}


def test_each_draws_from_a_stream_of_its_own():
    after, _ = put("patch(size=1, place='random')", "patch(size=1, place='random', colour='black')")
    whites, blacks = ((after[:, 0] == value).flatten(1) for value in (1.0, 0.0))
    same = put("patch(size=1, place='random')", "patch(size=1, place='random', colour='black')")[0]
    assert torch.equal(after, same)
    assert int((whites.float().argmax(1) == blacks.float().argmax(1)).sum()) < 5


def test_what_one_of_them_learns_is_kept_below_its_number():
    after, tensors = put(
        "patch(place='top_left')", "blend(pattern='noise', alpha=0.5)", "picture(size=4, place=(5, 5))"
    )
    assert set(tensors) == {"1.pattern", "1.mask", "2.rgba"}
    step = Patch(place="top_left")(GREY, rng=Rng(0))
    step = TRIGGERS.create("blend(alpha=0.5)").restore({k[2:]: t for k, t in tensors.items() if k[0] == "1"})(
        step, rng=Rng(9)
    )
    step = TRIGGERS.create("picture(size=4, place=(5, 5))").restore({"rgba": tensors["2.rgba"]})(step, rng=Rng(9))
    assert torch.equal(after, step)


def test_truth_and_tensors_make_it_again():
    data = ImageSet.from_array(GREY, torch.arange(40) % 2)
    several = Several(triggers=("patch", "blend(alpha=0.5)"))
    poisoned = Poison(trigger=several, selection=RandomShare(rate=0.2), relabelling=AllToOne()).apply(data, rng=Rng(0))
    again = trigger_of(poisoned.truth, 0, poisoned.tensors)(GREY, rng=Rng(0))
    assert set(poisoned.tensors) == {"0.1.pattern", "0.1.mask"}
    assert torch.equal(again[:8], poisoned.data.images(poisoned.truth.backdoors[0].poisoned))


def test_a_trigger_that_is_trained_with_the_model_is_refused():
    with pytest.raises(UsageError, match="there before the training, got victim, which is trained together"):
        Several(triggers=("patch", "victim"))


@pytest.mark.parametrize("triggers", [(), ("patch", "no_such_trigger"), ("patch(size=0)",), ("several",)], ids=str)
def test_what_is_no_trigger_is_refused(triggers):
    with pytest.raises(SpecError):
        Several(triggers=triggers)


def test_one_that_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="fits into 12x12"):
        put("patch", "patch(size=13)")
