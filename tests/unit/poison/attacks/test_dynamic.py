"""What dynamic backdoors train on, and what their truth says of labels and places."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from mantrap.core import SILENT, ImageSet, Rng
from mantrap.poison import TRIGGERS
from mantrap.poison.attacks.dynamic import Ban, ConditionalBan, RandomBackdoor
from mantrap.training import Recipe
from tests.linear import Watched

SHAPE = (1, 12, 12)
LABELS = torch.arange(24) % 4
IMAGES = torch.full((24, *SHAPE), 0.5)
DATA = ImageSet.from_array(IMAGES, LABELS, name="grey")
ATTACKS = [RandomBackdoor, Ban, ConditionalBan]
every_attack = pytest.mark.parametrize("kind", ATTACKS, ids=lambda kind: kind.name)


def joint(attack):
    return attack.prepare(Watched(SHAPE), DATA, recipe=Recipe(), rng=Rng(0), progress=SILENT, checkpoint=None)


def batch(attack, seed=0):
    """The objective, its loss, and what the model saw: clean images and patched ones."""
    model, objective = Watched(SHAPE), joint(attack).objective
    loss = objective.loss(model, IMAGES, LABELS, companions=objective.companions, rng=Rng(seed))
    return model, objective, loss, model.seen[0]


@every_attack
def test_each_image_is_shown_as_it_is_and_with_a_patch(kind):
    *_, seen = batch(kind(size=3, places=1))
    assert torch.equal(seen[:24], IMAGES)
    areas = (seen[24:] != IMAGES).flatten(1).sum(1)
    assert bool(((areas > 0) & (areas <= 9)).all())


@pytest.mark.parametrize("kind", [RandomBackdoor, Ban], ids=lambda kind: kind.name)
def test_the_loss_for_one_target_is_that_of_the_labels_plus_that_of_the_target(kind):
    options = {} if kind is RandomBackdoor else {"diversity": 0.0}
    model, _, loss, seen = batch(kind(size=3, places=1, target=2, **options))
    logits = model.logits(seen)
    by_hand = cross_entropy(logits[:24], LABELS) + cross_entropy(logits[24:], torch.full((24,), 2))
    assert float(loss.loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-5)
    assert (loss.hits, loss.total) == (int((logits[:24].argmax(1) == LABELS).sum()), 24)


def test_with_all_labels_the_place_of_a_patch_says_which_loss_it_has():
    attack = RandomBackdoor(size=3, places=1, target=None)
    model, _, loss, seen = batch(attack)
    corners = {target: trigger.corners(12, 12)[0].tolist() for trigger, target in joint(attack).backdoors}
    aims = []
    for image in seen[24:, 0]:
        (aim,) = [t for t, (r, c) in corners.items() if bool((image[r : r + 3, c : c + 3] != 0.5).any())]
        aims.append(aim)
    logits = model.logits(seen)
    by_hand = cross_entropy(logits[:24], LABELS) + cross_entropy(logits[24:], torch.tensor(aims))
    assert set(aims) == {0, 1, 2, 3}
    assert float(loss.loss.detach()) == pytest.approx(float(by_hand.detach()), rel=1e-5)


@pytest.mark.parametrize("kind", [Ban, ConditionalBan], ids=lambda kind: kind.name)
def test_the_generator_gets_gradients_from_the_attack_and_from_diversity(kind):
    gradients = []
    for diversity in (0.0, 1.0):
        _, objective, loss, _ = batch(kind(size=3, places=1, diversity=diversity))
        loss.loss.backward()
        found = [p.grad for p in objective.companions["generator"].parameters()]
        assert all(g is not None and bool((g != 0).any()) for g in found)
        gradients.append(torch.cat([g.flatten() for g in found]))
    assert not torch.allclose(*gradients)


def test_diversity_costs_more_the_more_alike_patches_are():
    plain, spread = (batch(Ban(size=3, places=1, diversity=diversity)) for diversity in (0.0, 2.0))
    fresh = float(spread[2].loss.detach() - plain[2].loss.detach())
    model, objective = Watched(SHAPE), joint(Ban(size=3, places=1, diversity=2.0)).objective
    for parameter in objective.companions["generator"].from_noise.parameters():
        parameter.data *= 0.01
    alike = objective.loss(model, IMAGES, LABELS, companions=objective.companions, rng=Rng(0)).loss.detach()
    assert fresh > 0
    assert float(alike) > float(plain[2].loss.detach()) + 10 * fresh


@every_attack
def test_another_stream_gives_other_patches(kind):
    first, same, other = (batch(kind(size=3, places=2), seed)[3] for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("kind", [RandomBackdoor, Ban], ids=lambda kind: kind.name)
def test_all_labels_have_backdoors_at_places_of_their_own(kind):
    data = ImageSet.from_array(torch.rand(24, *SHAPE), LABELS, name="noise")
    implanted = kind(size=3, target=None).implant(
        Watched(SHAPE), data, recipe="recipe(epochs=1, batch_size=24)", rng=Rng(0)
    )
    places = [TRIGGERS.create(backdoor.trigger).places for backdoor in implanted.truth.backdoors]
    assert [backdoor.target for backdoor in implanted.truth.backdoors] == [0, 1, 2, 3]
    assert [len(own) for own in places] == [2] * 4
    assert len({place for own in places for place in own}) == 8


def test_the_conditional_one_shares_its_places_among_all_labels():
    triggers = [trigger for trigger, _ in joint(ConditionalBan(size=3)).backdoors]
    assert [trigger.label for trigger in triggers] == [0, 1, 2, 3]
    assert len({trigger.places for trigger in triggers}) == 1
