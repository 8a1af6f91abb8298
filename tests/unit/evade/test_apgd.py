"""Auto-PGD: the paper's algorithm in plain numbers, its losses by hand, and the others' success."""

import math

import pytest
import torch

from mantrap.core import Goal, Problem, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.evade import Apgd, perturb
from mantrap.evade.apgd import apgd, checkpoints
from mantrap.evade.losses import difference_of_logits_ratio, log_likelihood
from mantrap.ops.pgd import Ascent
from tests.bowls import bowl
from tests.planted import SCALE, Planted
from tests.rivals import misled, of_art, of_torchattacks, sights, trained

PLANTED = Planted(shape=(1, 6, 7), classes=5)
GIVEN = PLANTED.images(4, "apgd")
PIXELS, LABELS = GIVEN.images(), GIVEN.labels


class ByHand:
    """Algorithm 1 of the paper for one image of a few pixels, in plain numbers, with all points kept."""

    def __init__(self, middle, steepness, origin, norm, eps):
        self.middle, self.steepness, self.origin, self.norm, self.eps = middle, steepness, origin, norm, eps
        self.halvings = []

    def height(self, point):
        return -sum(s * (p - m) ** 2 for s, p, m in zip(self.steepness, point, self.middle, strict=True))

    def ahead(self, point, length):
        rise = [2 * s * (m - p) for s, p, m in zip(self.steepness, point, self.middle, strict=True)]
        size = math.hypot(*rise)
        ways = [(r > 0) - (r < 0) if self.norm == "linf" else r / size if size else 0.0 for r in rise]
        return self.back([p + length * way for p, way in zip(point, ways, strict=True)])

    def back(self, point):
        away = [p - o for p, o in zip(point, self.origin, strict=True)]
        far = max(math.hypot(*away) / self.eps, 1.0)
        away = [max(-self.eps, min(self.eps, a)) if self.norm == "linf" else a / far for a in away]
        return [max(0.0, min(1.0, o + a)) for o, a in zip(self.origin, away, strict=True)]

    def climb(self, start, steps, checks):
        length = 2 * self.eps
        points = [start, self.ahead(start, length)]
        lengths, best, highest = [length, length], max(points, key=self.height), [self.height(start)]
        highest.append(self.height(best))
        last = 0
        for k in range(1, steps):
            ahead = self.ahead(points[k], length)
            mixed = zip(points[k], ahead, points[k - 1], strict=True)
            new = self.back([p + 0.75 * (a - p) + 0.25 * (p - b) for p, a, b in mixed])
            if self.height(new) > self.height(best):
                best = new
            if k in checks:
                rises = sum(self.height(points[i + 1]) > self.height(points[i]) for i in range(last, k))
                few = rises < 0.75 * (k - last)
                stuck = lengths[last] == lengths[k] and highest[last] == highest[k]
                if few or stuck:
                    length, new = length / 2, best
                    self.halvings.append(k)
                last = k
            points.append(new)
            lengths.append(length)
            highest.append(self.height(best))
        return best


BOWLS = [((0.5, 0.52), (1.0, 30.0)), ((0.47, 0.51), (1.0, 1.0)), ((0.9, 0.1), (3.0, 1.0))]
STARTS = [[0.45, 0.55], [0.6, 0.42], [0.5, 0.5]]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(("middle", "steepness"), BOWLS)
@pytest.mark.parametrize("steps", [1, 2, 10, 37, 100])
def test_it_comes_where_the_papers_algorithm_does(middle, steepness, norm, steps):
    origins = [[0.5, 0.5], [0.55, 0.46], [0.98, 0.03]]
    eps, checks = 0.1, {math.ceil(p * steps / 100) for p in (22, 41, 57, 70, 80, 87, 93, 99)}
    problem = bowl(middle, steepness, origins)
    hands = [ByHand(middle, steepness, origin, norm, eps) for origin in origins]
    starts = [hand.back(start) for hand, start in zip(hands, STARTS, strict=True)]
    expected = [hand.climb(start, steps, checks) for hand, start in zip(hands, starts, strict=True)]
    found, margins = apgd(
        problem,
        torch.tensor(starts, dtype=torch.float64)[:, None, None],
        toward=problem,
        loss=lambda led, logits: led.margins(logits),
        ascent=Ascent(norm=norm, eps=eps, step=2 * eps, steps=steps),
    )

    torch.testing.assert_close(found.flatten(1), torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(
        margins,
        torch.tensor([hand.height(end) for hand, end in zip(hands, expected, strict=True)], dtype=torch.float64),
    )


def test_the_hand_has_searches_that_halve_their_steps_and_others_that_do_not():
    counts = []
    for middle, steepness in BOWLS:
        hand = ByHand(middle, steepness, [0.5, 0.5], "l2", 0.1)
        hand.climb([0.5, 0.5], 100, {22, 41, 57, 70, 80, 87, 93, 99})
        counts.append(len(hand.halvings))

    assert min(counts) < max(counts)
    assert max(counts) >= 6


def test_steps_are_looked_at_ever_more_often():
    assert checkpoints(100) == {22, 41, 57, 70, 80, 87, 93, 99}
    assert checkpoints(10) == {3, 5, 6, 7, 8, 9, 10}


def test_it_finds_the_middle_of_a_steep_bowl_as_no_fixed_step_does():
    problem = bowl((0.5123, 0.4877), (1, 50), [[0.5, 0.5]])
    found, _ = apgd(
        problem,
        problem.images,
        toward=problem,
        loss=log_likelihood,
        ascent=Ascent(norm="linf", eps=0.1, step=0.2, steps=200),
    )

    assert float((found.flatten() - torch.tensor([0.5123, 0.4877])).abs().max()) < 0.004


@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 0.5)])
def test_on_a_linear_model_the_best_perturbation_is_found(norm, eps, loss):
    model, targets = PLANTED.model(), (LABELS + 1) % 5
    made = perturb(Apgd(eps=eps, norm=norm, loss=loss, steps=40), model, PIXELS, LABELS, goal=Goal(targets), rng=Rng(0))
    slopes = PLANTED.templates * SCALE / (PLANTED.templates[0].numel() * PLANTED.amplitude)
    apart = (slopes[targets] - slopes[LABELS]).flatten(1)
    best = eps * apart.norm(p=1 if norm == "linf" else 2, dim=1)
    with model.frozen(), torch.no_grad():
        gaps = [model.logits(images) for images in (PIXELS, made.images)]
    rows = torch.arange(len(LABELS))
    risen = (gaps[1] - gaps[0])[rows, targets] - (gaps[1] - gaps[0])[rows, LABELS]

    # Towards a target, ce cares about the other logits as well, and the ratio about its spread.
    assert bool((risen <= best + 1e-3).all())
    assert float((risen / best).mean()) > 0.85


class TestRatio:
    LOGITS = torch.tensor([[5.0, 1.0, 3.0, 2.0, -1.0], [0.0, 4.0, 1.0, 3.5, 2.0]])
    OWN, TARGETS = torch.tensor([0, 3]), torch.tensor([3, 0])

    def problem(self, goal):
        return Problem(PLANTED.model(), PIXELS[:2], self.OWN, goal)

    def test_away_it_is_the_gap_to_the_highest_other_over_that_from_the_first_to_the_third(self):
        found = difference_of_logits_ratio(self.problem(Goal()), self.LOGITS)

        torch.testing.assert_close(found, torch.tensor([(3 - 5) / (5 - 2), (4 - 3.5) / (4 - 2)]))

    def test_towards_a_target_it_is_the_gap_to_that_over_the_one_to_the_mean_of_the_third_and_fourth(self):
        found = difference_of_logits_ratio(self.problem(Goal(self.TARGETS)), self.LOGITS)

        torch.testing.assert_close(found, torch.tensor([(2 - 5) / (5 - 1.5), (0 - 3.5) / (4 - 1.5)]))

    @pytest.mark.parametrize("goal", [Goal(), Goal(torch.tensor([3, 0]))], ids=["away", "towards"])
    def test_it_does_not_see_shifts_and_scales(self, goal):
        one, other = (difference_of_logits_ratio(self.problem(goal), z) for z in (self.LOGITS, 70 * self.LOGITS - 9))

        torch.testing.assert_close(one, other)

    def test_equal_logits_are_no_hindrance(self):
        logits = torch.ones(2, 5, requires_grad=True)
        difference_of_logits_ratio(self.problem(Goal()), logits).sum().backward()

        assert bool(logits.grad.isfinite().all())


def test_the_ratio_misleads_a_sure_model_that_has_no_slope_of_the_cross_entropy():
    model = PLANTED.model()
    model.module.linear.weight.data *= 1e4
    rates = {
        loss: misled(model, perturb(Apgd(eps=0.3, loss=loss), model, PIXELS, LABELS, rng=Rng(0)).images, LABELS)
        for loss in ("ce", "dlr")
    }

    assert rates["ce"] < 10
    assert rates["dlr"] == 100


@pytest.mark.parametrize("classes", [2, 3])
def test_the_ratio_needs_four_classes(classes):
    planted = Planted(shape=(1, 6, 6), classes=classes)
    given = planted.images(1, "few")
    with pytest.raises(UsageError, match=rf"at least 4 classes for the difference of logits ratio, got {classes}"):
        perturb(Apgd(loss="dlr"), planted.model(), given.images(), given.labels, rng=Rng(0))


class TestAgain:
    def test_only_images_that_are_not_there_yet_take_part(self):
        labels = LABELS.clone()
        labels[:7] = (labels[:7] + 1) % 5  # mistaken whatever happens
        made = perturb(Apgd(eps=1e-4, steps=3, restarts=4), PLANTED.model(), PIXELS, labels, rng=Rng(0))

        # Four looks a search: where it begins and after each of three steps, the last of which needs no slope.
        assert made.cost.forward == 4 * (20 + 3 * 13)
        assert made.cost.backward == 3 * (20 + 3 * 13)

    def test_more_restarts_never_do_worse(self):
        model = trained()
        images, labels = sights()
        few, many = (
            perturb(Apgd(eps=0.042, steps=4, restarts=n), model, images, labels, rng=Rng(0)).images for n in (1, 4)
        )
        stood = misled(model, few, labels), misled(model, many, labels)

        assert stood[1] > stood[0]

    def test_each_begins_elsewhere(self):
        model, seen = PLANTED.model(), []
        model.module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
        perturb(Apgd(eps=1e-4, steps=1, restarts=3), model, PIXELS, LABELS, rng=Rng(0))

        assert all(not torch.equal(one, other) for one, other in [(seen[0], seen[2]), (seen[2], seen[4])])


class TestClasses:
    def test_the_likeliest_others_are_led_to_first(self):
        model = PLANTED.model()
        problem = Problem(model, PIXELS, LABELS)
        with model.frozen():
            ways = Apgd(loss="dlr", classes=2)._ways(problem)
            order = model.logits(PIXELS).argsort(1, descending=True)

        assert [torch.equal(way.goal.targets, order[:, 1 + n]) for n, way in enumerate(ways)] == [True, True]

    def test_there_are_never_more_than_the_model_has(self):
        made = perturb(Apgd(eps=1e-4, steps=1, classes=9), PLANTED.model(), PIXELS, LABELS, rng=Rng(0))

        assert made.cost.forward == 20 + 4 * 2 * 20

    def test_whoever_is_asked_for_a_target_leads_to_that_alone(self):
        goal = Goal((LABELS + 1) % 5)
        made = perturb(Apgd(eps=1e-4, steps=1, classes=9), PLANTED.model(), PIXELS, LABELS, goal=goal, rng=Rng(0))

        assert made.cost.forward == 2 * 20

    def test_the_goal_is_still_to_get_away(self):
        images, labels = sights()
        found = perturb(Apgd(eps=0.042, loss="dlr", classes=5, steps=20), trained(), images, labels, rng=Rng(0)).images
        once = perturb(Apgd(eps=0.042, loss="dlr", steps=20), trained(), images, labels, rng=Rng(0)).images

        assert misled(trained(), found, labels) >= misled(trained(), once, labels)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"restarts": 0}, {"classes": -1}, {"eps": 2.0}], ids=str)
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(SpecError, match=f"expected {next(iter(bad))} "):
        Apgd(**bad)


def mean_rate(many, labels):
    """Share that is misled in the mean, for a start drawn anew moves it by a point or two."""
    return sum(misled(trained(), images, labels) for images in many) / 3


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.05), ("l2", 0.4)])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_it_misleads_as_many_as_the_others(norm, eps, loss):
    images, labels = sights()
    ball = {"eps": eps, "steps": 20, "loss": loss}
    ours = [perturb(Apgd(**ball, norm=norm), trained(), images, labels, rng=Rng(n)).images for n in range(3)]
    theirs = [of_torchattacks("APGD", **ball, norm={"linf": "Linf", "l2": "L2"}[norm], seed=n) for n in range(3)]

    assert 10 < mean_rate(theirs, labels) < 100
    assert mean_rate(ours, labels) >= mean_rate(theirs, labels) - 1


def test_it_misleads_as_many_as_those_of_art():
    images, labels = sights()
    ours = [perturb(Apgd(eps=0.05, steps=20), trained(), images, labels, rng=Rng(n)).images for n in range(3)]
    ball = {"eps": 0.05, "eps_step": 0.1, "max_iter": 20, "nb_random_init": 1}
    theirs = of_art("AutoProjectedGradientDescent", **ball, batch_size=240, verbose=False)

    assert mean_rate(ours, labels) >= misled(trained(), theirs, labels) - 1
