"""Transformations of images before a model, by hand and by what all of them promise, and models behind them."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mantrap.core import Rng, Transformation
from mantrap.errors import SpecError
from mantrap.evade import Bim, Fgsm, perturb
from mantrap.evade.defended import defended
from mantrap.evade.transformations import TRANSFORMATIONS, BitDepth, Blur, Jpeg, RandomResize
from mantrap.ops.pgd import away, slope
from tests.contracts.families import those
from tests.contracts.test_detectors import global_streams
from tests.scans import SMALL

transformation = those(TRANSFORMATIONS)
SHAPES = [(1, 8, 8), (3, 9, 7), (2, 6, 6)]


def images(shape, count=3, seed=0):
    return torch.rand(count, *shape, generator=Rng(seed).torch())


class TestAll:
    def test_it_is_what_the_protocol_says(self, transformation):
        assert isinstance(transformation, Transformation)

    @pytest.mark.parametrize("shape", SHAPES)
    def test_images_keep_their_shape_and_range_and_the_given_ones_stay(self, transformation, shape):
        given = images(shape)
        before = given.clone()
        made = transformation(given, rng=Rng(1))

        assert made.shape == given.shape
        assert made.dtype == given.dtype
        assert -1e-6 <= float(made.min()) <= float(made.max()) <= 1 + 1e-6
        assert torch.equal(given, before)
        assert not torch.equal(made, given)

    def test_the_same_stream_gives_the_same_and_no_global_one_is_moved(self, transformation):
        before = global_streams()
        one, same, other = (transformation(images((1, 20, 20)), rng=Rng(seed)) for seed in (1, 1, 2))

        assert torch.equal(one, same)
        assert torch.equal(one, other) is not transformation.random
        assert global_streams() == before

    def test_an_image_does_not_depend_on_its_company(self, transformation):
        given = images((1, 12, 10))

        torch.testing.assert_close(transformation(given, rng=Rng(1))[:1], transformation(given[:1], rng=Rng(1)))

    def test_white_stays_white_in_the_middle(self, transformation):
        made = transformation(torch.ones(1, 1, 16, 16), rng=Rng(1))

        torch.testing.assert_close(made[..., 6:10, 6:10], torch.ones(1, 1, 4, 4), atol=0.02, rtol=0)


class TestByHand:
    def test_bit_depth_leaves_so_many_levels(self):
        ramp = torch.linspace(0, 1, 100).view(1, 1, 10, 10)
        made = BitDepth(bits=2)(ramp, rng=Rng(0))

        torch.testing.assert_close(made.unique(), torch.tensor([0, 1 / 3, 2 / 3, 1]))
        assert float((made - ramp).abs().max()) <= 1 / 6 + 1e-6

    def test_blur_spreads_a_point_as_a_gaussian(self):
        point = torch.zeros(1, 2, 21, 21)
        point[:, :, 10, 10] = 1
        made = Blur(sigma=1.5)(point, rng=Rng(0))[0, 1]
        places = torch.arange(21.0)
        means = [(made.sum(axis) * places).sum() for axis in (0, 1)]
        spread = (made.sum(0) * (places - 10).square()).sum()

        assert float(made.sum()) == pytest.approx(1, abs=1e-5)
        assert means == pytest.approx([10, 10], abs=1e-4)
        assert float(spread) == pytest.approx(1.5**2, rel=0.05)

    def test_blur_leaves_an_even_picture_alone_up_to_its_edge(self):
        even = torch.full((1, 3, 6, 5), 0.3)

        torch.testing.assert_close(Blur(sigma=2.0)(even, rng=Rng(0)), even)

    @pytest.mark.parametrize(("shape", "mode"), [((3, 16, 16), "RGB"), ((1, 16, 16), "L")])
    def test_jpeg_is_what_pillow_makes_of_it(self, shape, mode):
        given = images(shape, count=1)
        levels = (given[0] * 255).round().byte().permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(levels if mode == "RGB" else levels[..., 0], mode=None).save(buffer, "JPEG", quality=30)
        wanted = np.asarray(Image.open(buffer)).reshape(*levels.shape)
        made = Jpeg(quality=30)(given, rng=Rng(0))[0].permute(1, 2, 0)

        assert np.array_equal((made * 255).round().byte().numpy(), wanted)

    def test_a_random_resize_makes_a_picture_smaller_somewhere(self):
        white = torch.ones(1, 1, 40, 40)
        sizes, corners = set(), set()
        for seed in range(20):
            made = RandomResize(least=0.5)(white, rng=Rng(seed))[0, 0]
            rows, columns = (made.amax(axis) > 0.5 for axis in (1, 0))
            sizes.add(int(rows.sum()))
            corners.add((int(rows.int().argmax()), int(columns.int().argmax())))
            assert int(rows.sum()) == int(columns.sum())

        assert min(sizes) >= 20
        assert len(sizes) > 10
        assert len(corners) > 10

    @pytest.mark.parametrize(
        "spec", ["jpeg(quality=0)", "bit_depth(bits=9)", "blur(sigma=0.0)", "random_resize(least=0.0)"]
    )
    def test_settings_that_make_no_sense_are_refused(self, spec):
        with pytest.raises(SpecError, match="expected"):
            TRANSFORMATIONS.create(spec)


class TestDefended:
    def test_it_answers_as_the_model_does_to_what_it_is_shown(self, transformation):
        model, given = SMALL.model(), SMALL.images(3, "evade").images()
        behind = defended(model, transformation, rng=Rng(4), draws=1)
        seen = transformation(given, rng=Rng(4).child("draw", number=0))
        with behind.frozen(), torch.no_grad():
            found = behind.logits(given)
        with model.frozen(), torch.no_grad():
            torch.testing.assert_close(found, model.logits(seen), atol=1e-4, rtol=1e-4)

    def test_of_what_draws_it_is_the_mean_of_several(self):
        model, given = SMALL.model(), SMALL.images(3, "evade").images()
        with torch.no_grad():
            model.module.eval()
            several = defended(model, RandomResize(), rng=Rng(4), draws=3).logits(given)
            streams = [Rng(4).child("draw", number=number) for number in range(3)]
            each = [model.logits(RandomResize()(given, rng=stream)) for stream in streams]

        torch.testing.assert_close(several, torch.stack(each).mean(0))
        assert not torch.allclose(each[0], each[1])

    def test_where_it_rounds_the_gradient_is_that_of_the_model_at_what_it_sees(self):
        model, given = SMALL.model(), SMALL.images(3, "evade")
        seen = BitDepth(bits=3)(given.images(), rng=Rng(0))
        behind = defended(model, BitDepth(bits=3), rng=Rng(0))
        with behind.frozen():
            found = slope(behind, given.images(), given.labels, away)
        with model.frozen():
            torch.testing.assert_close(found, slope(model, seen, given.labels, away))

    def test_where_it_is_smooth_the_gradient_goes_through_it(self):
        given = SMALL.images(3, "evade")
        behind = defended(SMALL.model(), Blur(sigma=0.7), rng=Rng(0))
        with behind.frozen():
            found = slope(behind, given.images(), given.labels, away)
            small = 1e-2 * found / found.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
            ahead, back = (away(behind, given.images() + sign * small, given.labels) for sign in (1, -1))

        torch.testing.assert_close((ahead - back) / 2, (small * found).flatten(1).sum(1), rtol=0.02, atol=1e-7)

    def test_evasions_attack_through_it(self):
        given = SMALL.images(10, "evade")
        behind = defended(SMALL.model(), BitDepth(bits=2), rng=Rng(0))
        made = perturb(Bim(eps=0.4), behind, given.images(), given.labels, rng=Rng(0))
        with behind.frozen(), torch.no_grad():
            still = behind.logits(made.images).argmax(1) == given.labels

        assert not bool(still.any())

    def test_the_model_itself_stays_as_it_is(self):
        model = SMALL.model()
        before, mode = model.digest(), model.module.training
        perturb(
            Fgsm(),
            defended(model, Jpeg(), rng=Rng(0)),
            SMALL.images(2, "evade").images(),
            SMALL.images(2, "evade").labels,
            rng=Rng(0),
        )

        assert model.digest() == before
        assert model.module.training is mode
        assert model.mean == (SMALL.base,)
        assert not any(p.grad is not None for p in model.module.parameters())
