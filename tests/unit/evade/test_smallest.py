"""What all evasions of the smallest norm come to where the nearest image is known, and beside other libraries."""

import pytest
import torch

from mantrap.core import Goal, Rng
from mantrap.errors import SpecError
from mantrap.evade import EVASIONS, Boundary, CarliniWagner, Ddn, DeepFool, Lbfgs
from mantrap.ops.projections import norms
from tests.lengths import (
    LABELS,
    MODEL,
    NEXT,
    PIXELS,
    distances,
    in_a_corner,
    logits,
    made,
    median_length,
    trained,
)
from tests.rivals import of_foolbox

LONG = [
    (Lbfgs(), 1.005),
    (DeepFool(), 1.0205),
    (CarliniWagner(steps=80, searches=6), 1.03),
    (Ddn(steps=200), 1.01),
    (Boundary(steps=200), 1.15),
]
AIMING = [pair for pair in LONG if pair[0].aims]


def each(names, cases):
    return pytest.mark.parametrize(names, cases, ids=[f"{case[0].name}-{case[0].norm}" for case in cases])


by_name = each(("evasion", "most"), LONG)


@by_name
def test_away_from_the_class_of_a_linear_model_it_is_as_near_as_can_be(evasion, most):
    found, known = made(evasion), distances("l2").amin(1)
    lengths = norms(found - PIXELS, "l2")

    assert not bool((logits(MODEL, found).argmax(1) == LABELS).any())
    assert bool((lengths >= known * (1 - 1e-4)).all())
    assert float((lengths / known).max()) <= most


@each(("evasion", "most"), AIMING)
def test_towards_another_class_it_is_as_near_as_can_be(evasion, most):
    found = made(evasion, goal=Goal(NEXT))
    lengths, known = norms(found - PIXELS, "l2"), distances("l2").gather(1, NEXT[:, None])[:, 0]

    assert torch.equal(logits(MODEL, found).argmax(1), NEXT)
    assert bool((lengths >= known * (1 - 1e-4)).all())
    assert float((lengths / known).median()) <= most + 0.01  # the way may have to bend around a third class


@each(
    ("evasion", "most"),
    [(Lbfgs(), 1.005), (Ddn(steps=200), 1.02), (DeepFool(), 1.2)],
)
def test_where_pixels_are_black_or_white_the_others_go_as_much_farther(evasion, most):
    model, images, labels, known, unbounded = in_a_corner()
    lengths = norms(made(evasion, model, images, labels) - images, "l2")

    assert float((known / unbounded).median()) > 1.1
    assert bool((lengths >= known * (1 - 1e-4)).all())
    assert float((lengths / known).max()) <= most


@by_name
def test_images_that_are_mistaken_already_stay_as_they_are_among_others_that_do_not(evasion, most):
    del most
    labels = LABELS.clone()
    labels[::2] = NEXT[::2]
    found = made(evasion, labels=labels)

    assert torch.equal(found[::2], PIXELS[::2])
    assert bool((found[1::2] != PIXELS[1::2]).flatten(1).any(1).all())


@pytest.mark.parametrize(
    "evasion", [Lbfgs(), DeepFool(), CarliniWagner(steps=40, searches=4), Ddn()], ids=lambda e: e.name
)
def test_an_images_perturbation_does_not_hang_on_the_others(evasion):
    together = made(evasion)
    alone = torch.cat([made(evasion, images=PIXELS[i : i + 1], labels=LABELS[i : i + 1]) for i in range(3)])

    lengths = [norms(found - PIXELS[:3], "l2") for found in (alone, together[:3])]
    torch.testing.assert_close(*lengths, atol=0, rtol=0.01)


@pytest.mark.parametrize("evasion", [Lbfgs(), Ddn(), CarliniWagner(steps=40, searches=4)], ids=lambda e: e.name)
def test_what_cannot_be_led_to_the_goal_stays_as_it_is(evasion):
    model = never_class_three()
    found = made(evasion, model, goal=Goal(torch.where(LABELS == 3, 0, 3)), labels=LABELS.clamp(max=2))

    assert torch.equal(found[LABELS != 3], PIXELS[LABELS != 3])


def never_class_three():
    model = type(MODEL)(MODEL.module, input_shape=MODEL.input_shape, num_classes=4, mean=MODEL.mean, std=MODEL.std)
    model.logits = lambda images: type(MODEL).logits(model, images) - torch.tensor([0.0, 0, 0, 1e4])
    return model


RIVALS = [
    (DeepFool(), ("L2DeepFoolAttack", {}), "l2"),
    (DeepFool(norm="linf"), ("LinfDeepFoolAttack", {}), "linf"),
    (
        CarliniWagner(steps=50, searches=6),
        ("L2CarliniWagnerAttack", {"steps": 50, "stepsize": 0.05, "binary_search_steps": 6}),
        "l2",
    ),
    (Ddn(), ("DDNAttack", {}), "l2"),
    (Boundary(steps=200), ("BoundaryAttack", {"steps": 200}), "l2"),
]


@each(("evasion", "attack", "norm"), RIVALS)
def test_on_a_trained_network_it_comes_as_near_as_foolbox(evasion, attack, norm):
    model, images, labels = trained()
    name, options = attack
    theirs = of_foolbox(name, model=model, given=(images, labels), **options)
    ours = made(evasion, model, images, labels)

    assert median_length(model, images, labels, ours, norm) <= 1.02 * median_length(model, images, labels, theirs, norm)


@pytest.mark.parametrize(
    "spec",
    [
        "lbfgs(steps=0)", "lbfgs(searches=0)", "lbfgs(memory=0)", "deepfool(steps=0)", "deepfool(overshoot=0.0)",
        "deepfool(candidates=0)", "deepfool(norm='l1')", "carlini_wagner(steps=0)", "carlini_wagner(searches=0)",
        "carlini_wagner(rate=0.0)", "carlini_wagner(constant=0.0)", "carlini_wagner(kappa=-1.0)", "ddn(steps=0)",
        "ddn(gamma=1.0)", "ddn(radius=0.0)", "boundary(steps=0)", "boundary(draws=-1)", "boundary(around=1.0)",
        "boundary(closer=0.0)",
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(spec):
    with pytest.raises(SpecError):
        EVASIONS.create(spec)


def test_a_walk_comes_nearer_than_its_start_and_another_stream_is_another_walk():
    model, images, labels = trained()
    begun, one, other = (
        made(Boundary(steps=steps), model, images, labels, rng=Rng(seed))
        for steps, seed in ((1, 0), (400, 0), (400, 1))
    )
    lengths = [median_length(model, images, labels, found) for found in (begun, one, other)]

    assert max(lengths[1:]) < 0.9 * lengths[0]
    assert not torch.equal(one, other)
