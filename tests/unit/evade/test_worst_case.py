"""The worst case: who is asked about which images, what counts, and what is said of those who could not be asked."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from mantrap.core import Goal, Registry, Rng
from mantrap.errors import SpecError, UsageError
from mantrap.evade import Apgd, Bim, Fgsm, Square, WorstCase, perturb, worst_case
from mantrap.evade.single import SINGLE
from mantrap.ops.projections import norms
from tests.planted import Planted
from tests.rivals import misled, sights, trained


@dataclass(frozen=True, kw_only=True)
class Leap:
    """Of the smallest norm, and it leads every image to the next one, however far that is; only away."""

    name: ClassVar[str] = "leap"
    quick: ClassVar[str] = "leap"
    needs_gradients: ClassVar[bool] = False
    aims: ClassVar[bool] = False
    norm: str = "linf"
    near: bool = False

    def search(self, problem, *, rng, progress=None):
        del rng, progress
        there = problem.images.roll(1, 0)
        return problem.images + (0.5 if self.near else 1.0) * (there - problem.images)


@pytest.fixture
def leaping(monkeypatch):
    monkeypatch.setattr(worst_case, "SINGLE", Registry("evasion", [*SINGLE, Leap]))


def asked(evasion, **keywords):
    """What came of it, and how many images each forward pass had."""
    sizes, model = [], trained()
    handle = model.module.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    images, labels = sights()
    try:
        made = perturb(evasion, model, images, keywords.pop("labels", labels), rng=Rng(0), **keywords)
    finally:
        handle.remove()
    return made, sizes


class TestAsked:
    def test_each_is_asked_about_the_images_that_stood_those_before(self):
        images, labels = sights()
        found = perturb(Fgsm(eps=0.05), trained(), images, labels, rng=Rng(0)).images
        stood = 240 - round(2.4 * misled(trained(), found, labels))
        made, sizes = asked(WorstCase(eps=0.05, of=("fgsm", "bim(steps=20)", "square(queries=2)")))

        # The images, one step and a look; twenty steps and a look; two queries, a look.
        assert sizes[:3] == [240] * 3
        assert 0 < stood < 240
        assert sizes[3:24] == [stood] * 21
        assert 0 < sizes[24] < stood
        assert made.cost.forward == sum(sizes)

    def test_it_misleads_whoever_one_of_them_misleads(self):
        images, labels = sights()
        made = asked(WorstCase(eps=0.045, of=("fgsm", "bim", "mi_fgsm")))[0].images
        with trained().frozen(), torch.no_grad():
            alone = [
                perturb(kind, trained(), images, labels, rng=Rng(0)).images
                for kind in (Fgsm(eps=0.045), Bim(eps=0.045), *[WorstCase(eps=0.045, of=("mi_fgsm",))])
            ]
            wrong = [trained().logits(found).argmax(1) != labels for found in (made, *alone)]

        assert torch.equal(wrong[0], wrong[1] | wrong[2] | wrong[3])
        assert not torch.equal(wrong[0], wrong[1])

    def test_the_first_that_gets_there_counts(self):
        images, labels = sights()
        first = perturb(Fgsm(eps=0.05), trained(), images, labels, rng=Rng(0)).images
        made = asked(WorstCase(eps=0.05, of=("fgsm", "bim")))[0].images
        with trained().frozen(), torch.no_grad():
            there = trained().logits(first).argmax(1) != labels

        assert torch.equal(made[there], first[there])

    def test_of_those_that_do_not_the_nearest_is_given_back(self):
        images, labels = sights()
        made = asked(WorstCase(eps=0.02, of=("bim", "square(queries=2)")))[0].images

        assert torch.equal(made, perturb(Bim(eps=0.02), trained(), images, labels, rng=Rng(0)).images)

    def test_mistaken_images_stay_and_are_not_asked_about(self):
        labels = sights()[1].clone()
        labels[:100] = (labels[:100] + 1) % 6
        made, sizes = asked(WorstCase(eps=0.05, of=("fgsm",)), labels=labels)

        assert sizes == [240, 140, 140]
        assert torch.equal(made.images[:100], sights()[0][:100])

    def test_when_nobody_is_left_nobody_is_asked(self):
        _, sizes = asked(WorstCase(eps=0.3, of=("bim", "square")))

        assert len(sizes) == 42

    def test_they_draw_from_streams_of_their_own(self):
        _, labels = sights()
        twice = WorstCase(eps=0.045, of=("apgd(steps=2)",) * 3)
        once = WorstCase(eps=0.045, of=("apgd(steps=2)",))

        assert misled(trained(), asked(twice)[0].images, labels) > misled(trained(), asked(once)[0].images, labels)


class TestMembers:
    def test_budget_and_norm_are_handed_down(self):
        found = WorstCase(eps=0.3, norm="l2", of=("apgd", "square(queries=9)")).members

        assert found == (Apgd(eps=0.3, norm="l2"), Square(eps=0.3, norm="l2", queries=9))

    def test_the_default_is_auto_pgd_with_both_losses_and_the_square_attack(self):
        assert WorstCase().members == (Apgd(), Apgd(loss="dlr"), Square())

    @pytest.mark.parametrize("spec", ["apgd(eps=0.1)", "fgsm(norm='l2')"])
    def test_they_bring_none_of_their_own(self, spec):
        with pytest.raises(SpecError, match="handed down"):
            WorstCase(of=(spec,))

    @pytest.mark.parametrize(("spec", "norm"), [("rfgsm", "l2"), ("adversarial_patch", "linf")])
    def test_they_must_be_held_to_that_budget(self, spec, norm):
        with pytest.raises(SpecError, match=f"held to a budget in {norm}, got {spec}"):
            WorstCase(norm=norm, of=(spec,))

    @pytest.mark.parametrize(("bad", "says"), [((), "expected of "), (("nothing",), "an evasion out of")])
    def test_there_must_be_some(self, bad, says):
        with pytest.raises(SpecError, match=says):
            WorstCase(of=bad)


@pytest.mark.usefixtures("leaping")
class TestSmallest:
    def test_what_one_of_the_smallest_norm_finds_within_the_budget_counts(self):
        images, labels = sights()
        far = norms(images.roll(1, 0) - images, "linf")
        eps = float(far.median())
        made = asked(WorstCase(eps=eps, of=("leap",)))[0].images
        within = (far <= eps) & (labels != labels.roll(1))

        assert 0 < int(within.sum()) < 240
        assert torch.equal(made[within], images.roll(1, 0)[within])
        assert torch.equal(made[~within], images[~within])

    def test_one_that_cannot_aim_is_refused_where_there_are_targets(self):
        with pytest.raises(UsageError, match="lead to a target, got leap"):
            asked(WorstCase(of=("leap",)), goal=Goal((sights()[1] + 1) % 6))


class TestFewClasses:
    PLANTED = Planted(shape=(1, 6, 6), classes=3)

    def made(self, **settings):
        given = self.PLANTED.images(2, "few")
        return perturb(
            WorstCase(eps=0.3, **settings), self.PLANTED.model(), given.images(), given.labels, rng=Rng(0)
        ), given

    def test_the_default_does_without_the_ratio_and_says_so(self):
        made, given = self.made()

        assert made.notes == ("Left out is apgd(loss='dlr'): it needs more classes than 3.",)
        assert misled(self.PLANTED.model(), made.images, given.labels) == 100

    def test_with_enough_classes_there_is_nothing_to_say(self):
        assert asked(WorstCase(eps=0.05, of=("apgd(loss='dlr', steps=1)",)))[0].notes == ()

    def test_nobody_left_is_an_error(self):
        with pytest.raises(UsageError, match="can do with the model's 3 classes"):
            self.made(of=("apgd(loss='dlr')",))
