"""Networks that make triggers: sizes in, sizes out, and weights that can be kept and taken up again."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.poison.generators import EncoderDecoder, PatchGenerator, UniformPatches, below, loaded

NOISE = torch.rand(6, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def generator(labels=0):
    with Rng(0).as_global():
        return PatchGenerator((3, 4, 4), noise=5, labels=labels)


def test_uniform_patches_are_the_noise():
    maker = UniformPatches((2, 3, 3))
    noise = maker.draw(50, Rng(0))
    patches = maker(noise, torch.zeros(50, dtype=torch.int64))
    assert patches.shape == (50, 2, 3, 3)
    assert torch.equal(patches.flatten(1), noise)
    assert abs(float(noise.mean()) - 0.5) < 0.03
    assert abs(float(noise.std()) - 12**-0.5) < 0.02
    assert not maker.state_dict()


def test_a_generator_makes_patches_of_its_noise():
    patches = generator()(NOISE, LABELS)
    assert patches.shape == (6, 3, 4, 4)
    assert bool(((patches > 0) & (patches < 1)).all())
    assert len({tuple(patch.flatten().tolist()) for patch in patches}) == 6


def test_only_a_conditional_one_looks_at_the_label():
    same = NOISE[:1].expand(3, -1)
    plain, conditional = generator()(same, LABELS[:3]), generator(labels=3)(same, LABELS[:3])
    assert torch.equal(plain[0], plain[1])
    assert not torch.equal(conditional[0], conditional[1])


@pytest.mark.parametrize("labels", [0, 3])
def test_weights_that_were_kept_make_the_same_patches(labels):
    first = generator(labels)
    kept = {f"generator.{name}": tensor for name, tensor in first.state_dict().items()}
    weights = below("generator", kept | {"generators.other": NOISE})
    again = loaded(PatchGenerator.like(weights, 4), weights)
    assert torch.equal(again(NOISE, LABELS), first(NOISE, LABELS))
    assert not again.training
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_a_missing_weight_is_named():
    weights = dict(generator().state_dict())
    del weights["mix.bias"]
    with pytest.raises(KeyError, match=r"mix\.bias"):
        loaded(PatchGenerator.like(weights, 4), weights)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 13, 18), (1, 5, 4)])
@pytest.mark.parametrize("levels", [1, 2])
def test_an_encoder_decoder_takes_images_of_any_size(shape, levels):
    with Rng(0).as_global():
        network = EncoderDecoder(shape[0], 2, width=3, levels=levels)
    images = torch.rand(4, *shape, generator=torch.Generator().manual_seed(0))
    made = network(images).detach()
    assert made.shape == (4, 2, *shape[1:])
    assert bool(((made > 0) & (made < 1)).all())
    assert float(made.std()) > 0.01


def test_its_channels_double_with_each_level_and_halve_again():
    convolutions = [m for m in EncoderDecoder(3, 1, width=8, levels=3).modules() if isinstance(m, torch.nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [8, 8, 16, 16, 32, 32, 32, 32, 16, 16, 8, 8, 1]
