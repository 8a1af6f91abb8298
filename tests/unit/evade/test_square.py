"""The Square Attack: what it tries, what it keeps, whom it asks, and the others' success."""

import math

import pytest
import torch

from mantrap.core import Classifier, Goal, Rng
from mantrap.errors import SpecError
from mantrap.evade import Square, perturb
from mantrap.evade.square import _begun, _bumps, _moved
from mantrap.ops.projections import norms
from tests.planted import Planted
from tests.rivals import misled, of_torchattacks, sights, trained

PLANTED = Planted(shape=(3, 10, 12), classes=5)
GIVEN = PLANTED.images(2, "square")
PIXELS, LABELS = GIVEN.images(), GIVEN.labels


class Asked(Classifier):
    """Keeps every batch that it is asked, and what it said."""

    def __init__(self):
        super().__init__(
            PLANTED.network(), input_shape=PLANTED.shape, num_classes=5, mean=(PLANTED.base,), std=(PLANTED.amplitude,)
        )
        self.images, self.answers = [], []

    def logits(self, images):
        said = super().logits(images)
        self.images.append(images.clone())
        self.answers.append(said.clone())
        return said


def asked(settings, *, labels=LABELS, **keywords):
    model = Asked()
    made = perturb(settings, model, PIXELS, labels, rng=Rng(0), **keywords)
    return made, torch.stack(model.images), torch.stack(model.answers)


def margins(answers, labels=LABELS):
    """How far the highest other logit is above the own one, for each query and image."""
    own = answers.gather(2, labels.expand(len(answers), -1)[..., None])
    return (answers.scatter(2, labels.expand(len(answers), -1)[..., None], -torch.inf).amax(2) - own[..., 0])[1:]


def walk(tried, heights):
    """For each query the point from which it was tried: the best of those before."""
    for query in range(1, len(tried)):
        best = heights[:query].argmax(0)
        yield tried[best, torch.arange(tried.shape[1])], tried[query]


FAINT = {"linf": 0.01, "l2": 0.05}
"""Budgets within which no image gets there, so that all of them are asked to the end."""


@pytest.mark.parametrize("norm", ["linf", "l2"])
class TestKept:
    def test_it_is_the_best_of_all_that_was_tried(self, norm):
        made, images, answers = asked(Square(eps=FAINT[norm], norm=norm, queries=60))
        best = margins(answers).argmax(0)

        assert torch.equal(made.images, images[1:][best, torch.arange(len(PIXELS))])

    def test_towards_a_target_by_its_likelihood(self, norm):
        targets = (LABELS + 2) % 5
        made, images, answers = asked(Square(eps=FAINT[norm], norm=norm, queries=60), goal=Goal(targets))
        likely = answers[1:].log_softmax(2).gather(2, targets.expand(59, -1)[..., None])[..., 0]

        assert torch.equal(made.images, images[1:][likely.argmax(0), torch.arange(len(PIXELS))])

    def test_an_image_that_is_there_is_left_alone_and_changes_nothing_for_the_others(self, norm):
        labels = LABELS.clone()
        labels[3:] = (labels[3:] + 1) % 5
        settings = Square(eps=FAINT[norm], norm=norm, queries=30)
        made, alone = asked(settings)[0], perturb(settings, PLANTED.model(), PIXELS, labels, rng=Rng(0))

        assert torch.equal(alone.images[:3], made.images[:3])
        assert torch.equal(alone.images[3:], PIXELS[3:])
        assert alone.cost.forward == 10 + 29 * 3


class TestTried:
    def test_it_begins_with_stripes_of_one_column(self):
        _, images, _ = asked(Square(eps=0.01, queries=2))
        change = images[1] - PIXELS

        torch.testing.assert_close(change.abs(), torch.full_like(change, 0.01), atol=1e-6, rtol=0)
        assert torch.equal(change.sign(), change[:, :, :1].sign().expand_as(change))
        assert len(change[:, :, 0].sign().flatten(1).unique(dim=0)) == len(PIXELS)

    def test_then_one_square_of_one_sign_for_each_channel_changes(self):
        settings = Square(eps=0.01, queries=60)
        _, images, answers = asked(settings)
        signs = (images[1:] - PIXELS).sign()
        for query, (before, tried) in enumerate(walk(signs, margins(answers)), start=2):
            side = settings.side(query, 10, 12)
            for image, now in zip(before, tried, strict=True):
                rows, columns = ((image != now).any(0).any(d).nonzero()[:, 0] for d in (1, 0))
                if len(rows):
                    assert int(rows[-1] - rows[0]) < side
                    assert int(columns[-1] - columns[0]) < side
                    box = now[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].flatten(1)
                    assert all(len(channel.unique()) == 1 for channel in box[(image != now).flatten(1).any(1)])

    def test_squares_come_to_lie_at_every_edge(self):
        settings = Square(eps=0.01, queries=400, share=0.02)
        _, images, answers = asked(settings)
        changed = torch.zeros(10, 12, dtype=torch.bool)
        for before, tried in walk((images[1:] - PIXELS).sign(), margins(answers)):
            changed |= (before != tried).any(0).any(0)

        assert bool(changed.all())

    def test_in_an_l2_ball_all_of_the_budget_is_spent_on_every_try(self):
        _, images, _ = asked(Square(eps=0.3, norm="l2", queries=60))
        for tried in images[1:]:
            torch.testing.assert_close(norms(tried - PIXELS, "l2"), torch.full((10,), 0.3), atol=1e-4, rtol=0)

    def test_and_two_squares_change(self):
        settings = Square(eps=0.05, norm="l2", queries=100, share=0.2)
        _, images, answers = asked(settings)
        for query, (before, tried) in enumerate(walk(images[1:], margins(answers)), start=2):
            changed = ((before - tried).abs() > 1e-6).any(1)
            area = changed.flatten(1).sum(1)

            assert int(area.max()) <= 2 * settings.side(query, 10, 12) ** 2
            assert int(area.median()) > 0
            emptied = (changed & ((tried - PIXELS).abs().amax(1) < 1e-6)).flatten(1).sum(1)
            assert int(emptied.max()) <= settings.side(query, 10, 12) ** 2


class TestSide:
    def test_the_share_is_halved_as_in_the_paper(self):
        sides = Square(queries=10_000).side

        assert [sides(query, 28, 28) for query in (1, 10, 11, 50, 51, 201, 8001)] == [25, 25, 18, 18, 13, 9, 1]

    def test_sooner_with_fewer_queries(self):
        assert [Square(queries=1000).side(query, 28, 28) for query in (1, 2, 5, 6)] == [25, 18, 18, 13]

    def test_in_an_l2_ball_it_is_odd(self):
        sides = Square(queries=10_000, norm="l2").side

        assert [sides(query, 28, 28) for query in (1, 11, 51, 201, 501, 1001)] == [25, 19, 13, 9, 7, 5]

    @pytest.mark.parametrize("norm", ["linf", "l2"])
    def test_it_fits(self, norm):
        assert Square(queries=10_000, norm=norm, share=1.0).side(1, 4, 30) == 4
        assert Square(queries=10_000, norm=norm, share=1.0).side(1, 30, 4) == 4

    def test_it_is_never_too_small(self):
        assert Square(queries=10_000, norm="l2").side(9999, 28, 28) == 3
        assert Square(queries=10_000).side(9999, 28, 28) == 1


HILL = torch.tensor([0.25, 1.25, 0.25]) / math.sqrt(1.6875)
HOLLOW = torch.tensor([[0.25, 0.25, 0.25], [0.25, 1.25, 0.25]]) / math.sqrt(1.875)
BUMP = torch.cat([HILL[None], -HOLLOW]) / math.sqrt(2)
L2 = Square(eps=0.5, norm="l2")
GREY = torch.full((1, 2, 9, 9), 0.5)


def one_after_the_other(*drawn):
    """Gives these numbers, looking at what shape was asked for."""
    left = [torch.tensor(d)[None] for d in drawn]

    def draw(*shape):
        now = left.pop(0)
        assert now.shape[1:] == shape
        return now

    return draw


class TestWhereAnL2SearchBegins:
    @pytest.mark.parametrize(
        ("shape", "top", "left", "down", "across"),
        [((17, 17), 1, 1, 5, 5), ((19, 17), 0, 1, 6, 5), ((17, 23), 1, 1, 5, 7), ((18, 18), 0, 0, 6, 6)],
        ids=str,
    )
    def test_whole_tiles_lie_in_the_middle(self, shape, top, left, down, across):
        images = torch.full((1, 1, *shape), 0.5)
        change = _begun(images, L2, lambda *size: torch.zeros(1, *size)) - images
        expected = torch.zeros(shape)
        expected[top : top + 3 * down, left : left + 3 * across] = BUMP.repeat(down, across)

        torch.testing.assert_close(change[0, 0], 0.5 * expected / math.sqrt(down * across))

    def test_each_tile_is_turned_and_each_channel_of_it_has_a_sign(self):
        signs = torch.tensor([[0.0, 0.9, 0.0, 0.9, 0.9]] * 5)
        turned = torch.zeros(1, 5, 5)
        turned[0, 3, 1] = 0.9
        images = torch.full((1, 2, 15, 15), 0.5)
        change = _begun(images, L2, one_after_the_other(torch.stack([signs, 1 - signs]).tolist(), turned.tolist()))
        tiles = (change - images)[0].unfold(1, 3, 3).unfold(2, 3, 3) * math.sqrt(50) / 0.5

        torch.testing.assert_close(tiles[0, 0, 0], BUMP)
        torch.testing.assert_close(tiles[0, 0, 1], -BUMP)
        torch.testing.assert_close(tiles[0, 3, 1], -BUMP.T)
        torch.testing.assert_close(tiles[1, 3, 1], BUMP.T)
        torch.testing.assert_close(tiles[1, 2, 2], -BUMP)

    def test_an_image_smaller_than_five_pixels_has_tiles_of_one(self):
        images = torch.full((1, 1, 3, 4), 0.5)
        change = _begun(images, L2, lambda *size: torch.zeros(1, *size)) - images

        torch.testing.assert_close(change, torch.full_like(change, -0.5 / math.sqrt(12)))


class TestAMoveInAnL2Ball:
    """A change of .2 in the new window, .3 in the one to be emptied and .1 outside of both, in the first channel."""

    def moved(self, *, sign=0.0, turned=0.0):
        change = torch.zeros(1, 2, 9, 9)
        change[0, 0, 0, 1], change[0, 0, 8, 8], change[0, 0, 4, 4] = 0.2, 0.3, 0.1
        draw = one_after_the_other([0.0, 0.0], [0.99, 0.99], [[[sign]], [[0.9]]], [turned])
        return (_moved(GREY, GREY + change, L2, draw, 3) - GREY)[0]

    def test_the_mass_of_both_windows_and_a_share_of_what_is_unused_go_to_the_new_one(self):
        first, second = self.moved()
        unused = 0.25 - 0.04 - 0.09 - 0.01
        bump = BUMP.clone()
        bump[0, 1] += 1

        torch.testing.assert_close(first[:3, :3], math.sqrt(unused / 2 + 0.13) * bump / bump.norm())
        torch.testing.assert_close(second[:3, :3], -math.sqrt(unused / 2) * BUMP)

    def test_the_other_is_emptied_and_all_else_stays(self):
        first, second = self.moved()
        rest = torch.zeros(9, 9)
        rest[4, 4] = 0.1
        first[:3, :3] = second[:3, :3] = 0

        torch.testing.assert_close(first, rest)
        assert not second.any()

    def test_a_bump_has_a_sign_and_is_turned(self):
        bump = -BUMP.T
        bump[0, 1] += 1

        found = self.moved(sign=0.9, turned=0.9)[0, :3, :3]
        torch.testing.assert_close(found / found.norm(), bump / bump.norm())


def test_a_bump_is_a_hill_above_a_hollow_or_left_of_it():
    above, left = _bumps(torch.tensor([0.0, 0.9]), 3)

    torch.testing.assert_close(above, BUMP)
    assert torch.equal(left, above.T)


def test_a_hollow_is_deepest_in_its_middle_and_of_length_one():
    bump = _bumps(torch.tensor([0.0]), 9)[0]

    assert float(bump.norm()) == pytest.approx(1)
    assert divmod(int(bump.argmax()), 9) == (2, 4)
    assert divmod(int(bump.argmin()), 9) == (4 + 2, 4)


@pytest.mark.parametrize("bad", [{"queries": 1}, {"share": 0.0}, {"share": 1.1}, {"eps": 0.0}], ids=str)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        Square(**bad)


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.55)])
def test_it_misleads_as_many_as_the_others(norm, eps):
    images, labels = sights()
    ours = perturb(Square(eps=eps, norm=norm, queries=400), trained(), images, labels, rng=Rng(0)).images
    theirs = of_torchattacks("Square", eps=eps, norm={"linf": "Linf", "l2": "L2"}[norm], n_queries=400)
    rates = [misled(trained(), found, labels) for found in (ours, theirs)]

    assert rates[1] > 5
    assert rates[0] >= rates[1] - 1
