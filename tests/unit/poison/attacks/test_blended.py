"""Blended injection, plain and adaptive: what training images carry, and what is used against the model."""

import pytest
import torch

from mantrap.core import ImageSet, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.measure import trigger_of
from mantrap.poison import ATTACKS
from mantrap.poison.attacks.adaptive_blend import AdaptiveBlend
from mantrap.poison.attacks.blended import Blended

LABELS = torch.arange(400) % 4
IMAGES = torch.full((1, 3, 16, 16), 0.5)


def clean():
    pixels = torch.rand(400, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return ImageSet.from_array(pixels, LABELS, name="toy")


def weight(before, after, pattern):
    """What share of the pattern is in each pixel of each image, [n, h, w], by least squares over the channels."""
    towards = pattern - before
    return ((after - before) * towards).sum(1) / towards.square().sum(1)


@pytest.mark.parametrize("pattern", ["noise", "cartoon"])
@pytest.mark.parametrize("test_alpha", [None, 0.6])
def test_training_and_use_have_each_their_alpha(pattern, test_alpha):
    data = clean()
    poisoned = Blended(target=1, pattern=pattern, alpha=0.3, test_alpha=test_alpha).apply(data, rng=Rng(0))
    (backdoor,) = poisoned.truth.backdoors
    index, learned = list(backdoor.poisoned), poisoned.tensors["0.pattern"]
    trained = weight(data.images(index), poisoned.data.images(index), learned)
    used = weight(IMAGES, trigger_of(poisoned.truth, 0, poisoned.tensors)(IMAGES, rng=Rng(0)), learned)

    assert len(index) == 40
    assert set(poisoned.data.labels[index].tolist()) == {1}
    torch.testing.assert_close(trained, torch.full((40, 16, 16), 0.3), atol=1e-4, rtol=0)
    torch.testing.assert_close(used, torch.full((1, 16, 16), test_alpha or 0.3), atol=1e-4, rtol=0)
    assert backdoor.training_trigger == (
        "blend(alpha=0.3)" if pattern == "noise" else "blend(pattern='cartoon', alpha=0.3)"
    )


def test_the_pattern_depends_on_its_seed_and_not_on_that_of_the_attack():
    first, other_attack, other_noise = (
        Blended(seed=seed).apply(clean(), rng=Rng(attack)) for seed, attack in ((0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(first.tensors["0.pattern"], other_attack.tensors["0.pattern"])
    assert not torch.equal(first.tensors["0.pattern"], other_noise.tensors["0.pattern"])
    assert first.truth.backdoors[0].poisoned != other_attack.truth.backdoors[0].poisoned


def test_adaptive_images_show_half_of_the_pieces_and_covers_keep_their_label():
    data = clean()
    poisoned = AdaptiveBlend(target=2, rate=0.05, cover_rate=0.1).apply(data, rng=Rng(0))
    (backdoor,) = poisoned.truth.backdoors
    both = [*backdoor.poisoned, *backdoor.covers]
    shares = weight(data.images(both), poisoned.data.images(both), poisoned.tensors["0.pattern"])
    pieces = shares.unflatten(1, (4, 4)).unflatten(3, (4, 4)).transpose(2, 3).flatten(1, 2).flatten(2)

    assert (len(backdoor.poisoned), len(backdoor.covers)) == (20, 40)
    assert set(poisoned.data.labels[list(backdoor.poisoned)].tolist()) == {2}
    assert set(LABELS[list(backdoor.poisoned)].tolist()) == {0, 1, 3}
    assert torch.equal(poisoned.data.labels[list(backdoor.covers)], LABELS[list(backdoor.covers)])
    shown = pieces.mean(2) > 0.1
    assert shown.sum(1).tolist() == [8] * 60
    assert float((pieces - 0.15 * shown[..., None]).abs().max()) < 1e-3
    assert len({tuple(row) for row in shown.tolist()}) > 55


def test_adaptive_use_shows_the_whole_pattern_and_more_of_it():
    poisoned = AdaptiveBlend(rate=0.05, cover_rate=0.0, test_alpha=0.25).apply(clean(), rng=Rng(0))
    used = trigger_of(poisoned.truth, 0, poisoned.tensors)(IMAGES, rng=Rng(0))
    shares = weight(IMAGES, used, poisoned.tensors["0.pattern"])
    assert poisoned.truth.backdoors[0].covers == ()
    torch.testing.assert_close(shares, torch.full((1, 16, 16), 0.25), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "spec",
    [
        "blended(alpha=0.0)",
        "blended(alpha=1.5)",
        "blended(test_alpha=-0.2)",
        "blended(pattern='')",
        "blended(target=-1)",
        "adaptive_blend(cover_rate=1.0)",
        "adaptive_blend(pieces_shown=17)",
        "adaptive_blend(alpha=2.0)",
        "adaptive_blend(test_alpha=0.0)",
    ],
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        ATTACKS.create(spec)


def test_a_rate_too_small_for_the_set_is_refused():
    with pytest.raises(UsageError, match=r"got 0\.001, which selects 0"):
        AdaptiveBlend(rate=0.001).apply(clean(), rng=Rng(0))
