"""A patch replaces the pixels of its place, in its own image, and nothing else."""

import torch

from mantrap.ops.paste import cut, paste

IMAGES = torch.rand(3, 2, 5, 7, generator=torch.Generator().manual_seed(0))
PATCHES = 2 + torch.arange(3 * 2 * 2 * 3.0).view(3, 2, 2, 3)
CORNERS = torch.tensor([[0, 0], [3, 4], [1, 2]])


def test_each_image_gets_its_patch_at_its_place():
    before = IMAGES.clone()
    pasted = paste(IMAGES, PATCHES, CORNERS)
    for image, patch, original, (row, column) in zip(pasted, PATCHES, IMAGES, CORNERS.tolist(), strict=True):
        assert torch.equal(image[:, row : row + 2, column : column + 3], patch)
        rest = torch.ones(5, 7, dtype=torch.bool)
        rest[row : row + 2, column : column + 3] = False
        assert torch.equal(image[:, rest], original[:, rest])
    assert torch.equal(IMAGES, before)


def test_gradients_reach_the_patches_and_the_pixels_that_are_left():
    images, patches = IMAGES.clone().requires_grad_(), PATCHES.clone().requires_grad_()
    paste(images, patches, CORNERS).sum().backward()
    assert torch.equal(patches.grad, torch.ones_like(PATCHES))
    assert int((images.grad == 0).sum()) == PATCHES.numel()


def test_no_images_are_no_images():
    assert paste(IMAGES[:0], PATCHES[:0], CORNERS[:0]).shape == (0, 2, 5, 7)


def test_what_is_cut_is_what_was_pasted():
    taken = cut(paste(IMAGES, PATCHES, CORNERS), CORNERS, 2, 3)
    assert torch.equal(taken, PATCHES)
    assert torch.equal(cut(IMAGES, CORNERS, 2, 3)[1], IMAGES[1, :, 3:5, 4:7])
    assert torch.equal(paste(IMAGES, cut(IMAGES, CORNERS, 2, 3), CORNERS), IMAGES)
