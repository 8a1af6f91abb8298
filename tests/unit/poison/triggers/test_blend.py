"""The pattern is mixed in as the equation says, in all of the image or in the pieces that were drawn for it."""

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import ImageSet, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.poison import TRIGGERS
from mantrap.poison.triggers.artwork import artwork
from mantrap.poison.triggers.blend import Blend

SHAPE = (3, 12, 16)
IMAGES = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))


def learned(trigger, shape=SHAPE):
    return trigger.learn(ImageSet.from_array(torch.rand(2, *shape), [0, 1]), model=None, target=None, rng=Rng(7))


def mixed(trigger, images=IMAGES, *, seed=0):
    return trigger.restore(learned(trigger, images.shape[1:]))(images, rng=Rng(seed))


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0])
def test_every_value_is_what_the_equation_says(alpha):
    trigger = Blend(alpha=alpha)
    pattern = learned(trigger)["pattern"]
    torch.testing.assert_close(mixed(trigger), alpha * pattern + (1 - alpha) * IMAGES, atol=1e-6, rtol=0)


def test_noise_follows_from_the_seed_in_the_spec_and_from_nothing_else():
    first, again, other = (learned(Blend(seed=seed, alpha=alpha)) for seed, alpha in ((3, 0.2), (3, 0.9), (4, 0.2)))
    assert torch.equal(first["pattern"], again["pattern"])
    assert not torch.equal(first["pattern"], other["pattern"])
    assert float(first["mask"].min()) == 1.0
    values = learned(Blend(), (3, 64, 64))["pattern"].flatten()
    counts = torch.histc(values, bins=8, min=0, max=1)
    assert float((counts - len(values) / 8).abs().max()) < 5 * (len(values) / 8) ** 0.5


def test_a_cartoon_covers_the_image_at_its_size():
    tensors = learned(Blend(pattern="cartoon"))
    assert torch.equal(tensors["pattern"], artwork("cartoon", SHAPE[1:])[:3])
    assert torch.equal(tensors["mask"], torch.ones(SHAPE[1:]))
    assert learned(Blend(pattern="cartoon"), (1, 12, 16))["pattern"].shape == (1, 12, 16)


def test_a_file_is_left_out_where_it_is_transparent(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 4)).astype(np.uint8)
    pixels[:6, :, 3] = 0
    pixels[6:, :, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "glasses.png")
    after = mixed(Blend(pattern=str(tmp_path / "glasses.png"), alpha=0.4))
    pattern = torch.from_numpy(pixels).permute(2, 0, 1)[:3] / 255
    assert torch.equal(after[:, :, :6], IMAGES[:, :, :6])
    torch.testing.assert_close(after[:, :, 6:], 0.6 * IMAGES[:, :, 6:] + 0.4 * pattern[:, 6:], atol=1e-6, rtol=0)


class TestPieces:
    @pytest.mark.parametrize(("height", "width", "grid"), [(12, 16, 4), (13, 18, 4), (7, 7, 3), (3, 3, 3)])
    def test_each_image_shows_as_many_whole_pieces_as_it_shall(self, height, width, grid):
        shown = Blend(grid=grid, pieces_shown=grid**2 // 2).pieces(50, height, width, rng=Rng(0))[:, 0]
        edges = [[-(-k * side // grid) for k in range(grid + 1)] for side in (height, width)]
        counts = torch.zeros(50)
        for top, bottom in zip(edges[0], edges[0][1:], strict=False):
            for left, right in zip(edges[1], edges[1][1:], strict=False):
                piece = shown[:, top:bottom, left:right].flatten(1)
                assert piece.shape[1] > 0
                assert bool((piece == piece[:, :1]).all())
                counts += piece[:, 0]
        assert counts.tolist() == [grid**2 // 2] * 50

    def test_every_piece_is_drawn_as_often_as_the_others_and_not_together_with_its_neighbour(self):
        shown = Blend(pieces_shown=8).pieces(4000, 4, 4, rng=Rng(0)).flatten(1)
        assert float((shown.mean(0) - 0.5).abs().max()) < 0.04
        pairs = shown.T @ shown / 4000  # two given pieces of 16 are both among 8 drawn ones in 7 of 30 cases
        assert float((pairs - torch.diag(pairs.diag())).sum() / 240) == pytest.approx(7 / 30, abs=1e-3)
        assert float((pairs - torch.diag(pairs.diag() - 7 / 30)).sub(7 / 30).abs().max()) < 0.04

    def test_what_is_shown_is_the_whole_mixture_and_the_rest_is_the_image(self):
        whole, part = (mixed(Blend(alpha=0.3, pieces_shown=shown)) for shown in (16, 5))
        shown = (part != IMAGES).any(1, keepdim=True)
        assert torch.equal(part, torch.where(shown, whole, IMAGES))
        assert shown.flatten(1).sum(1).tolist() == [5 * 12] * 6
        assert len({tuple(image.flatten().tolist()) for image in shown}) > 1

    def test_the_stream_says_which(self):
        trigger = Blend(pieces_shown=5)
        assert torch.equal(mixed(trigger, seed=1), mixed(trigger, seed=1))
        assert not torch.equal(mixed(trigger, seed=1), mixed(trigger, seed=2))

    def test_the_whole_pattern_draws_nothing_and_needs_no_pieces(self):
        assert torch.equal(mixed(Blend(), seed=1), mixed(Blend(), seed=2))
        tiny = torch.rand(2, 1, 3, 3)
        assert not torch.equal(mixed(Blend(), tiny), tiny)

    def test_images_too_small_for_the_grid_are_refused(self):
        with pytest.raises(UsageError, match="images of at least 4x4 pixels for so many pieces, got 3x9"):
            mixed(Blend(pieces_shown=8), torch.rand(2, 1, 3, 9))


def test_images_of_another_shape_are_refused():
    trigger = Blend().restore(learned(Blend()))
    with pytest.raises(UsageError, match=r"images of shape \(3, 12, 16\), .* got \(1, 12, 16\)"):
        trigger(IMAGES[:, :1], rng=Rng(0))


def test_a_picture_is_not_for_images_of_four_channels():
    with pytest.raises(UsageError, match="images of 1 or 3 channels"):
        learned(Blend(pattern="cartoon"), (4, 12, 16))


@pytest.mark.parametrize(
    "spec",
    [
        "blend(alpha=0)",
        "blend(alpha=1.2)",
        "blend(alpha=-0.1)",
        "blend(pattern='')",
        "blend(grid=0)",
        "blend(pieces_shown=0)",
        "blend(pieces_shown=17)",
        "blend(grid=2)",
        "blend(seed=0.5)",
    ],
)
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        TRIGGERS.create(spec)
