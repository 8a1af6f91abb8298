"""A pattern through a mask: the mask alone says where."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from mantrap.ops.stamp import stamp

shapes = st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


@given(shapes, st.integers(0, 9))
def test_every_value_is_what_the_equation_says(shape, seed):
    generator = torch.Generator().manual_seed(seed)
    images, mask, pattern = (torch.rand(size, generator=generator) for size in (shape, shape[2:], shape[1:]))
    before = images.clone()
    stamped = stamp(images, mask, pattern)

    assert stamped.shape == images.shape
    assert torch.equal(images, before)
    for n, c, i, j in torch.cartesian_prod(*map(torch.arange, shape)).tolist():
        expected = (1 - mask[i, j]) * images[n, c, i, j] + mask[i, j] * pattern[c, i, j]
        assert torch.isclose(stamped[n, c, i, j], expected)


def test_black_is_stamped_like_any_colour():
    images, mask, pattern = torch.full((2, 3, 4, 4), 0.75), torch.zeros(4, 4), torch.zeros(3, 4, 4)
    mask[1:3, 1:3] = 1.0
    stamped = stamp(images, mask, pattern)

    assert float(stamped[:, :, 1:3, 1:3].abs().max()) == 0.0
    assert torch.equal(stamped[:, :, 0], images[:, :, 0])


def test_no_mask_leaves_the_images_and_a_full_one_shows_the_pattern():
    images, pattern = torch.rand(2, 1, 3, 4), torch.rand(1, 3, 4)

    assert torch.equal(stamp(images, torch.zeros(3, 4), pattern), images)
    assert torch.equal(stamp(images, torch.ones(3, 4), pattern), pattern.expand(2, 1, 3, 4))


def test_the_gradient_reaches_mask_and_pattern():
    mask, pattern = torch.full((3, 4), 0.5, requires_grad=True), torch.full((1, 3, 4), 1.0, requires_grad=True)
    stamp(torch.full((2, 1, 3, 4), 0.25), mask, pattern).sum().backward()

    assert torch.equal(mask.grad, torch.full((3, 4), 2 * 0.75))
    assert torch.equal(pattern.grad, torch.full((1, 3, 4), 2 * 0.5))


def test_each_image_may_have_a_mask_and_a_pattern_of_its_own():
    images, masks, patterns = torch.rand(3, 2, 4, 5), torch.rand(3, 1, 4, 5), torch.rand(3, 2, 4, 5)
    stamped = stamp(images, masks, patterns)

    for image, mask, pattern, found in zip(images, masks, patterns, stamped, strict=True):
        assert torch.equal(found, stamp(image[None], mask[0], pattern)[0])
    assert torch.equal(stamp(images, masks[:1], patterns[:1]), stamp(images, masks[0, 0], patterns[0]))
