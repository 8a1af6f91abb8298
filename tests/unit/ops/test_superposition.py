"""Entropies on a model whose every answer is known: its logits are the means of the channels, as often as told."""

import math

import pytest
import torch
from torch import Tensor, nn

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.errors import FailedError, UsageError
from mantrap.ops.superposition import (
    draw_overlays,
    drawn_from_every_class,
    kept_under,
    mean_image,
    superposed,
    superposition_entropy,
)
from tests.scans import SMALL


class Means(nn.Module):
    """Logits are the channels' means times a factor; an image whose first pixel is white is of class 0 for sure."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor, self.seen = factor, []
        self.drop = nn.Dropout(0.9)

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        marked = (images[:, :1, 0, 0] >= 0.5) * torch.tensor([1000.0, 0, 0, 0])
        return self.factor * self.drop(images).mean((2, 3)) + marked


def classifier(factor=1.0):
    return Classifier(Means(factor), input_shape=(4, 3, 5), num_classes=4)


def pixels(count, name="images"):
    found = 0.4 * torch.rand(count, 4, 3, 5, generator=Rng(0).child(name).torch())
    found[:, 0, 0, 0] = 0
    return found


def test_an_entropy_is_the_mean_over_the_overlays_by_its_definition():
    model, images, overlays = classifier(5.0), pixels(3), pixels(4, "overlays")
    for i, found in enumerate(superposition_entropy(model, images, overlays, opacity=0.5).tolist()):
        bits = []
        for overlay in overlays:
            logits = (5 * (images[i] + overlay) / 2).mean((1, 2))
            shares = [math.exp(z) / sum(map(math.exp, logits.tolist())) for z in logits.tolist()]
            bits.append(-sum(p * math.log2(p) for p in shares))
        assert found == pytest.approx(sum(bits) / 4, abs=1e-5)


def test_a_model_that_cannot_decide_has_all_bits_and_one_that_knows_has_none():
    images, overlays = pixels(2), pixels(3, "overlays")

    assert superposition_entropy(classifier(0.0), images, overlays).tolist() == [2.0, 2.0]  # log2 of four classes
    images[1, 0, 0, 0] = 1.0
    assert superposition_entropy(classifier(0.0), images, overlays).tolist() == [2.0, 0.0]


def test_at_a_half_images_are_mixed_and_at_one_they_are_added_and_cut_at_white():
    image, overlay = torch.full((1, 1, 1, 1), 0.75), torch.full((1, 1, 1, 1), 0.5)

    assert superposed(image, overlay, opacity=0.5).item() == 0.625
    assert superposed(image, overlay, opacity=0.6).item() == pytest.approx(0.75)
    assert superposed(image, overlay, opacity=1.0).item() == 1.0


def test_every_image_meets_every_overlay():
    mixed = superposed(pixels(2), pixels(3, "overlays"), opacity=0.5)

    assert mixed.shape == (2, 3, 4, 3, 5)
    assert torch.equal(mixed[1, 2], (pixels(2)[1] + pixels(3, "overlays")[2]) / 2)


def test_the_opacity_counts():
    model, images, overlays = classifier(50.0), pixels(3), pixels(4, "overlays")
    found = [superposition_entropy(model, images, overlays, opacity=o) for o in (0.5, 1.0)]

    assert bool((found[0] != found[1]).all())
    assert torch.equal(superposition_entropy(model, images, overlays), found[0])


@pytest.mark.parametrize("count", [1, 5, 255, 256, 300])
def test_batches_are_full_but_never_too_large_and_answers_do_not_depend_on_them(count):
    model, images, overlays = classifier(9.0), pixels(4), pixels(count, "overlays")
    together = superposition_entropy(model, images, overlays)
    sizes = model.module.seen

    assert sum(sizes) == 4 * count
    assert max(sizes) == min(256, 4 * count, max(1, 256 // count) * count)
    alone = torch.cat([superposition_entropy(model, one[None], overlays) for one in images])
    assert torch.allclose(together, alone, atol=1e-6)


def test_no_images_have_no_entropies():
    assert superposition_entropy(classifier(), pixels(0), pixels(2, "overlays")).shape == (0,)


def test_the_model_stays_as_it_is_and_gradients_are_neither_asked_for_nor_given():
    model = classifier()
    images = pixels(2).requires_grad_()
    found = superposition_entropy(model, images, pixels(2, "overlays"))

    assert model.module.training
    assert not found.requires_grad
    assert found.dtype == torch.float32


def test_answers_that_are_no_numbers_are_refused():
    with pytest.raises(FailedError, match="finite logits"):
        superposition_entropy(classifier(math.nan), pixels(2), pixels(2, "overlays"))


class TestOverlays:
    images = ImageSet.from_array(pixels(20), name="twenty")

    def test_they_are_different_images_of_the_set(self):
        drawn = draw_overlays(self.images, 15, Rng(0))
        found = [[torch.equal(one, other) for other in self.images.images()].index(True) for one in drawn]

        assert len(set(found)) == 15
        assert found != sorted(found)

    def test_they_follow_from_the_stream(self):
        first, same, other = (draw_overlays(self.images, 5, Rng(seed)) for seed in (0, 0, 1))

        assert torch.equal(first, same)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("count", [0, 21])
    def test_more_than_there_are_and_none_are_refused(self, count):
        with pytest.raises(UsageError, match=f"expected 1 to 20 images .* for twenty has so many, got {count}"):
            draw_overlays(self.images, count, Rng(0))


class Brightness(nn.Module):
    """Class 1 where an image is lighter than mid-grey in the mean, else class 0."""

    def forward(self, images):
        light = images.mean((1, 2, 3)) - 0.5
        return torch.stack([-light, light], 1)


def grey(*values, labels):
    pixels = torch.tensor(values)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    return ImageSet.from_array(pixels, torch.tensor(labels), name="grey")


class TestKeptUnder:
    MODEL = Classifier(Brightness(), input_shape=(1, 2, 2), num_classes=2)
    MEAN = torch.full((1, 2, 2), 0.5)

    def test_it_is_the_share_of_overlays_of_other_classes(self):
        images = grey(0.9, 0.55, 0.1, labels=[1, 1, 0])
        overlays = grey(0.4, 0.2, 0.9, labels=[0, 0, 1])
        found = kept_under(self.MODEL, images, overlays, mean=self.MEAN, contrast=1.0)

        # 0.9 - 0.1 and 0.9 - 0.3 are light, 0.55 - 0.1 and 0.55 - 0.3 are not, 0.1 + 0.4 is on the edge: class 0.
        assert found.tolist() == [1.0, 0.0, 1.0]

    def test_contrast_makes_overlays_stronger(self):
        images, overlays = grey(0.9, labels=[1]), grey(0.4, 0.3, labels=[0, 0])
        found = [kept_under(self.MODEL, images, overlays, mean=self.MEAN, contrast=by).item() for by in (1.0, 2.5, 5.0)]

        assert found == [1.0, 0.5, 0.0]

    def test_what_gets_lighter_than_white_is_white(self):
        """Of four pixels one is far beyond white then, which would make the mean light."""
        images, pixels = grey(0.9, labels=[1]), torch.tensor([1.0, 0.3, 0.3, 0.3]).view(1, 1, 2, 2)
        overlays = ImageSet.from_array(pixels, torch.tensor([0]))

        assert kept_under(self.MODEL, images, overlays, mean=self.MEAN, contrast=9.0).tolist() == [0.0]

    def test_overlays_of_its_own_class_do_not_count(self):
        images, overlays = grey(0.9, labels=[1]), grey(0.6, 0.7, labels=[1, 1])

        assert kept_under(self.MODEL, images, overlays, mean=self.MEAN, contrast=1.0).tolist() == [0.0]

    def test_a_wrong_answer_keeps_nothing(self):
        images, overlays = grey(0.9, labels=[0]), grey(0.6, labels=[1])

        assert kept_under(self.MODEL, images, overlays, mean=self.MEAN, contrast=1.0).tolist() == [0.0]


def test_the_mean_image_is_that_of_all_images_of_whatever_batch():
    images = SMALL.images(60, "images")

    assert torch.allclose(mean_image(images), images.images().mean(0), atol=1e-6)


class TestDrawnFromEveryClass:
    LABELS = torch.tensor([0] * 90 + [1] * 8 + [2] * 2)

    def test_every_class_has_as_many_while_they_last(self):
        found = drawn_from_every_class(self.LABELS, 12, Rng(0))

        assert torch.bincount(self.LABELS[found]).tolist() == [5, 5, 2]
        assert len(set(found)) == 12

    def test_all_are_drawn_where_there_are_no_more(self):
        assert sorted(drawn_from_every_class(self.LABELS, 1000, Rng(0))) == list(range(100))

    def test_they_are_drawn_at_random(self):
        one, same, other = (drawn_from_every_class(self.LABELS, 5, Rng(seed)) for seed in (0, 0, 1))

        assert one == same != other
