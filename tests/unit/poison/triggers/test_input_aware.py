"""The input-aware trigger: mask and pattern come from the image itself, one image does not change another's."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison.triggers.input_aware import InputAwareTrigger, sharpened, show

IMAGES = torch.rand(5, 3, 10, 14, generator=torch.Generator().manual_seed(0))


def networks():
    kind = InputAwareTrigger(width=3, levels=1)
    with Rng(0).as_global():
        return kind, kind.pattern_network(3), kind.mask_network(3)


def trigger():
    kind, pattern, mask = networks()
    kept = {f"pattern.{k}": v for k, v in pattern.state_dict().items()}
    return kind.restore(kept | {f"mask.{k}": v for k, v in mask.state_dict().items()})


def test_it_shows_the_pattern_through_the_sharpened_mask():
    _, pattern, mask = networks()
    with torch.no_grad():
        steep = (20 * mask.eval()(IMAGES) - 10).tanh() / 2 + 0.5
        wanted = (1 - steep) * IMAGES + steep * pattern.eval()(IMAGES)
    torch.testing.assert_close(trigger()(IMAGES, rng=Rng(0)), wanted)
    assert steep.shape == (5, 1, 10, 14)


def test_an_image_alone_gets_the_same_trigger_as_in_a_batch_and_another_image_another():
    whole = trigger()(IMAGES, rng=Rng(0))
    torch.testing.assert_close(trigger()(IMAGES[2:3], rng=Rng(1)), whole[2:3])
    assert not torch.allclose(whole[2] - IMAGES[2], whole[3] - IMAGES[3])


def test_masks_become_steep_around_one_half():
    sharp = sharpened(torch.tensor([0.0, 0.45, 0.5, 0.55, 1.0]).view(1, 1, 1, 5)).flatten()
    assert float(sharp[0]) < 1e-6
    assert float(sharp[2]) == 0.5
    assert float(sharp[4]) > 1 - 1e-6
    assert float(sharp[1]) == pytest.approx(1 - float(sharp[3]), abs=1e-6)
    assert float(sharp[3]) == pytest.approx(0.8808, abs=1e-4)


def test_no_mask_leaves_the_image_and_a_full_one_the_pattern():
    patterns, full = IMAGES.flip(0), torch.ones(5, 1, 10, 14)
    assert torch.equal(show(IMAGES, patterns, 0 * full), IMAGES)
    assert torch.equal(show(IMAGES, patterns, full), patterns)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="3 channels"):
        trigger()(IMAGES[:, :1], rng=Rng(0))
    for options in ({"width": 0}, {"levels": 0}):
        with pytest.raises(SpecError, match=next(iter(options))):
            InputAwareTrigger(**options)
