"""Several attacks in one training set."""

import pytest

from mantrap.core import Rng
from mantrap.errors import UsageError
from mantrap.poison import BadNets, Combined, attack_text, combine, plan
from mantrap.poison.attacks import FeatureCollision
from tests import stage

CORNER = BadNets(target=1, rate=0.05, trigger="patch(place='top_left')")


def test_one_attack_is_left_as_it_is():
    for attack in (CORNER, FeatureCollision()):
        assert combine([attack]) is attack


def test_several_are_planted_together_in_disjoint_images():
    images, both = stage.image_set(), combine([BadNets(), CORNER])
    poisoned = both.apply(images, rng=Rng(3))
    first, second = poisoned.truth.backdoors

    assert isinstance(both, Combined)
    assert poisoned.truth.attack == attack_text(both) == f"badnets + {attack_text(CORNER)}"
    assert (first.target, second.target) == (0, 1)
    assert (len(first.poisoned), len(second.poisoned)) == (12, 6)
    assert not set(first.poisoned) & set(second.poisoned)
    assert first.poisoned == BadNets().apply(images, rng=Rng(3)).truth.backdoors[0].poisoned
    white = poisoned.data.images()[:, 0, 1:5, 1:5].flatten(1).min(1).values == 1
    assert set(white.nonzero().flatten().tolist()) == set(second.poisoned)


@pytest.mark.parametrize("attacks", [[BadNets(), FeatureCollision()], [FeatureCollision(), FeatureCollision()]])
def test_an_attack_of_another_kind_stands_alone(attacks):
    with pytest.raises(UsageError, match=r"got feature_collision.* among 2\. Give an attack of another kind alone"):
        combine(attacks)


def test_no_attack_is_none():
    with pytest.raises(UsageError, match="got none"):
        combine([])


def test_an_attack_is_called_by_its_spec():
    assert attack_text(CORNER) == "badnets(target=1, rate=0.05, trigger=\"patch(place='top_left')\")"
    assert attack_text(plan(selection="exactly", cover="random_share")) == "patch, exactly, all_to_one, random_share"
