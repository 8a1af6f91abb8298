"""MI-FGSM: steps that can be worked out by hand, and the others' images."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.errors import SpecError
from mantrap.evade import Bim, MiFgsm, perturb
from mantrap.evade.mi_fgsm import mi_fgsm
from tests.bowls import bowl
from tests.rivals import misled, of_foolbox, of_torchattacks, sights, trained

MIDDLE, STEEPNESS, BEGIN = (0.52, 0.9), (1.0, 3.0), (0.5, 0.5)


def by_hand(decay, *, norm, eps, step, steps):
    """Algorithm 1 for two pixels, in plain numbers."""
    at, memory = list(BEGIN), [0.0, 0.0]
    for _ in range(steps):
        rise = [2 * s * (m - value) for s, m, value in zip(STEEPNESS, MIDDLE, at, strict=True)]
        memory = [decay * m + r / sum(map(abs, rise)) for m, r in zip(memory, rise, strict=True)]
        length = sum(m * m for m in memory) ** 0.5
        ways = [m / length if norm == "l2" else (m > 0) - (m < 0) for m in memory]
        away = [a + step * way - b for a, way, b in zip(at, ways, BEGIN, strict=True)]
        far = max(sum(a * a for a in away) ** 0.5 / eps, 1.0)
        away = [a / far if norm == "l2" else max(-eps, min(eps, a)) for a in away]
        at = [max(0.0, min(1.0, b + a)) for b, a in zip(BEGIN, away, strict=True)]
    return at


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("steps", [1, 2, 3, 6])
@pytest.mark.parametrize("decay", [0.0, 1.0, 4.0])
def test_each_step_goes_along_the_decaying_sum_of_gradients_over_their_l1_norms(decay, steps, norm):
    settings = MiFgsm(eps=0.12, norm=norm, step=0.05 / 0.12, steps=steps)
    found = mi_fgsm(bowl(MIDDLE, STEEPNESS, [BEGIN]), settings.ascent, decay)

    expected = torch.tensor(by_hand(decay, norm=norm, eps=0.12, step=0.05, steps=steps), dtype=torch.float64)
    torch.testing.assert_close(found.flatten(), expected)


def test_the_hand_has_a_case_in_which_the_memory_turns_a_step():
    assert by_hand(4.0, norm="linf", eps=0.12, step=0.05, steps=2)[0] == pytest.approx(0.6)
    assert by_hand(1.0, norm="linf", eps=0.12, step=0.05, steps=2)[0] == pytest.approx(0.5)


def test_without_a_memory_it_is_bim():
    images, labels = sights()
    one, other = (
        perturb(kind(eps=0.05, steps=10, **more), trained(), images, labels, rng=Rng(0)).images
        for kind, more in ((MiFgsm, {"decay": 0.0}), (Bim, {}))
    )

    assert torch.equal(one, other)


def test_an_image_without_a_slope_stays():
    problem = bowl(MIDDLE, (1, 1), [MIDDLE, BEGIN])
    found = mi_fgsm(problem, MiFgsm(eps=0.1, steps=3).ascent)

    assert torch.equal(found[0], problem.images[0])
    assert not torch.equal(found[1], problem.images[1])


def test_a_negative_decay_is_refused():
    with pytest.raises(SpecError, match="decay of at least 0"):
        MiFgsm(decay=-0.1)


@pytest.mark.parametrize("eps", [0.04, 0.045])
def test_it_misleads_as_many_as_the_others(eps):
    images, labels = sights()
    ours = perturb(MiFgsm(eps=eps), trained(), images, labels, rng=Rng(0)).images
    theirs = of_torchattacks("MIFGSM", eps=eps, alpha=0.1 * eps, steps=10)
    more = of_foolbox("LinfMomentumIterativeFastGradientMethod", eps, rel_stepsize=0.1, steps=10)

    assert misled(trained(), ours, labels) >= max(misled(trained(), one, labels) for one in (theirs, more)) - 1
    assert float((ours - theirs).abs().median()) < 1e-6
