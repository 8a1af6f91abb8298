"""Dynamic triggers: a patch in one of its places and nowhere else, another one for each image."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison.generators import PatchGenerator
from mantrap.poison.triggers.dynamic import BanTrigger, ConditionalBanTrigger, Places, RandomTrigger, share_out

GREY = torch.full((60, 3, 17, 23), 0.5)


def tensors(labels=0):
    with Rng(0).as_global():
        network = PatchGenerator((3, 4, 4), noise=6, labels=labels)
    for parameter in network.parameters():  # weights of some size, so that noise and label can be seen
        parameter.data *= 4
    return {f"generator.{name}": tensor for name, tensor in network.state_dict().items()}


READY = {
    "random": RandomTrigger(size=4, places=(0, 7, 19)),
    "ban": BanTrigger(size=4, places=(0, 7, 19)).restore(tensors()),
    "c_ban": ConditionalBanTrigger(size=4, places=(0, 7, 19), label=1).restore(tensors(labels=3)),
}
every_trigger = pytest.mark.parametrize("trigger", READY.values(), ids=READY.keys())


def changed_boxes(before, after):
    """First row, first column, last row, last column of what changed in each image."""
    boxes = []
    for image in (after != before).any(1):
        where = torch.nonzero(image)
        boxes.append((*where.amin(0).tolist(), *where.amax(0).tolist()))
    return boxes


@every_trigger
def test_only_one_of_its_places_changes_and_each_is_used(trigger):
    corners = Places(size=4, places=(0, 7, 19)).corners(17, 23).tolist()
    boxes = changed_boxes(GREY, trigger(GREY, rng=Rng(1)))
    assert set(boxes) == {(row, column, row + 3, column + 3) for row, column in corners}


@every_trigger
def test_patches_differ_from_image_to_image_and_are_the_same_for_the_same_stream(trigger):
    after = trigger(GREY, rng=Rng(1))
    assert torch.equal(after, trigger(GREY, rng=Rng(1)))
    assert not torch.equal(after, trigger(GREY, rng=Rng(2)))
    assert len({tuple(sorted(set(image.flatten().tolist()))) for image in after}) == len(GREY)


def test_random_values_are_uniform_and_independent():
    first, second = (RandomTrigger(size=4)(torch.zeros(200, 1, 8, 8), rng=Rng(seed))[:, 0, :4, :4] for seed in (1, 2))
    assert abs(float(first.mean()) - 0.5) < 0.02
    assert abs(float(first.std()) - 12**-0.5) < 0.01
    assert abs(float(torch.corrcoef(torch.stack([first.flatten(), second.flatten()]))[0, 1])) < 0.05


def test_a_conditional_patch_depends_on_the_label():
    first, second = (
        ConditionalBanTrigger(size=4, label=label).restore(tensors(labels=3))(GREY, rng=Rng(1)) for label in (0, 2)
    )
    assert changed_boxes(GREY, first) == changed_boxes(GREY, second)
    assert not torch.equal(first, second)


def test_cells_never_overlap_and_reach_all_over_the_image():
    covered = torch.zeros(17, 23)
    for row, column in Places(size=4, places=tuple(range(20))).corners(17, 23).tolist():
        covered[row : row + 4, column : column + 4] += 1
    assert float(covered.max()) == 1.0
    assert int(covered.sum()) == 20 * 16
    assert bool(covered[-5:].any())
    assert bool(covered[:, -5:].any())


@pytest.mark.parametrize(("labels", "each"), [(1, 1), (1, 20), (3, 2), (10, 2), (20, 1)])
def test_labels_share_no_place(labels, each):
    shared = share_out(labels, each, size=4, height=17, width=23)
    assert [len(own) for own in shared] == [each] * labels
    places = [place for own in shared for place in own]
    assert len(set(places)) == len(places)
    assert 0 <= min(places) <= max(places) < 20


def test_more_places_than_there_are_are_refused():
    with pytest.raises(UsageError, match="at most 20 places"):
        share_out(7, 3, size=4, height=17, width=23)
    with pytest.raises(UsageError, match="20 cells"):
        RandomTrigger(size=4, places=(20,))(GREY, rng=Rng(0))
    with pytest.raises(UsageError, match="size 18"):
        RandomTrigger(size=18)(GREY, rng=Rng(0))


@pytest.mark.parametrize("options", [{"size": 0}, {"places": ()}, {"places": (3, -1)}])
def test_sizes_and_places_that_are_none_are_refused(options):
    with pytest.raises(SpecError, match=next(iter(options))):
        RandomTrigger(**options)


def test_images_of_other_channels_and_unknown_labels_are_refused():
    with pytest.raises(UsageError, match="3 channels"):
        READY["ban"](GREY[:, :1], rng=Rng(0))
    with pytest.raises(UsageError, match="below 3"):
        ConditionalBanTrigger(size=4, label=3).restore(tensors(labels=3))
    with pytest.raises(SpecError, match="label"):
        ConditionalBanTrigger(label=-1)
