"""Images out of a linear model, whose classes are known."""

import pytest
import torch
from torch import nn

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.errors import SpecError
from mantrap.poison.trojaning import Rebuilding, external, rebuild

SHAPE, CLASSES = (1, 6, 6), 4


def linear(scale=4.0):
    """Class k is bright in a row of its own."""
    rows = torch.zeros(CLASSES, *SHAPE)
    for k in range(CLASSES):
        rows[k, 0, k] = scale
    module = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES, bias=False))
    module.load_state_dict({"1.weight": rows.flatten(1)})
    return Classifier(module, input_shape=SHAPE, num_classes=CLASSES)


HOW = Rebuilding(images_per_class=3, steps=60, confidence=0.999, smoothing=0.01)


def test_every_image_comes_to_its_class_and_to_its_goal():
    images = rebuild(linear(), HOW, rng=Rng(0))
    count = CLASSES * 3
    chances = linear().logits(images.images(range(count))).softmax(1)
    own = chances.gather(1, images.labels[:count, None])[:, 0]

    assert images.labels[:count].tolist() == [0, 1, 2, 3] * 3
    assert bool((own >= HOW.goals().repeat_interleave(CLASSES)).all())


def test_what_it_did_not_have_to_change_it_left_alone():
    """The rows that belong to no class have no slope: without denoising they are the noise that was there before."""
    how = Rebuilding(images_per_class=1, steps=30, confidence=0.9, smoothing=0.0)
    images = rebuild(linear(), how, rng=Rng(0)).images()
    made, noise = images[:CLASSES], images[CLASSES:]

    torch.testing.assert_close(made[:, :, CLASSES:], noise[:, :, CLASSES:])
    for k in range(CLASSES):
        assert float(made[k, 0, k].mean()) > float(noise[k, 0, k].mean())


def test_the_noise_that_they_began_as_comes_with_the_models_answers():
    images = rebuild(linear(), HOW, rng=Rng(0))
    noise = images.subset(range(CLASSES * 3, CLASSES * 6))

    assert torch.equal(noise.labels, linear().logits(noise.images()).argmax(1))
    assert len({*images.content_hashes}) == len(images)


def test_goals_are_spread_evenly_in_log_odds_up_to_the_confidence():
    odds = Rebuilding(images_per_class=4, confidence=0.999).goals().logit()
    torch.testing.assert_close(odds, torch.tensor([0.25, 0.5, 0.75, 1.0]) * 6.9068, rtol=1e-3, atol=0)


def test_one_image_of_a_class_that_nothing_reaches_stays_and_the_others_go():
    """Every class but the first is out of reach: a bias holds them back."""
    model = linear()
    model.module[1].bias = nn.Parameter(torch.tensor([0.0, -1e3, -1e3, -1e3]))
    images = rebuild(model, HOW, rng=Rng(0))

    assert images.labels[: -CLASSES * 3].tolist().count(0) == 3
    assert all(images.labels[: -CLASSES * 3].tolist().count(k) == 1 for k in (1, 2, 3))


def test_smoothing_takes_noise_out():
    rough, smooth = (
        rebuild(linear(), Rebuilding(images_per_class=4, steps=20, smoothing=s), rng=Rng(0)).images(range(16))
        for s in (0.0, 0.2)
    )
    assert float(smooth.diff(dim=-1).abs().mean()) < 0.5 * float(rough.diff(dim=-1).abs().mean())


def test_the_same_stream_gives_the_same_images_and_the_model_stays_as_it_is():
    model = linear()
    digest = model.digest()
    first, second, third = (rebuild(model, HOW, rng=Rng(seed)).digest() for seed in (0, 0, 1))

    assert first == second != third
    assert model.digest() == digest


def test_more_images_for_each_class_begin_as_the_fewer_did():
    fewer, more = (
        rebuild(linear(), Rebuilding(images_per_class=n, steps=1), rng=Rng(0)).images()[-n * CLASSES :] for n in (2, 3)
    )
    assert torch.equal(more[: 2 * CLASSES], fewer)


def test_of_an_attackers_own_images_so_many_of_each_class_are_taken():
    labels = torch.tensor([0] * 7 + [1] * 2 + [3] * 5)
    images = ImageSet.from_array(torch.rand(14, *SHAPE), labels)
    chosen = external(images, 3, rng=Rng(0))

    assert sorted(chosen.labels.tolist()) == [0, 0, 0, 1, 1, 3, 3, 3]
    assert set(chosen.content_hashes) < set(images.content_hashes)


@pytest.mark.parametrize(
    "options", [{"images_per_class": 0}, {"steps": 0}, {"confidence": 0.0}, {"confidence": 1.0}, {"smoothing": -0.1}]
)
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(SpecError, match=next(iter(options))):
        Rebuilding(**options)
