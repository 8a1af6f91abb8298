"""The pool: what comes in, what has to go, and what is learned from it."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from mantrap.core import Problem, Rng
from mantrap.evade import EVASIONS, Fgsm
from mantrap.evade.hardening import Pool, batches
from mantrap.evade.hardening.pool import Kept
from mantrap.evade.hardening.watch import Budgeted
from mantrap.training import fit
from tests.linear import Watched
from tests.planted import Planted

PLANTED = Planted(shape=(1, 4, 5), classes=4)
SET = PLANTED.images(3, "training")
IMAGES, LABELS = SET.images(), SET.labels


def numbered(*numbers):
    """Images that say which they are, and their labels."""
    return torch.tensor(numbers, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 1, 2, 2), torch.tensor(numbers)


def inside(pool):
    return sorted(pool.labels[: int(pool.filled)].tolist())


class TestKept:
    def test_it_fills_up_and_then_examples_take_the_places_of_others(self):
        pool = Kept(5, (1, 2, 2))
        pool.put(*numbered(1, 2, 3), Rng(0))
        assert inside(pool) == [1, 2, 3]
        pool.put(*numbered(4, 5, 6), Rng(1))
        after = inside(pool)
        assert len(after) == 5
        assert {4, 5, 6} <= set(after)
        assert len({1, 2, 3} & set(after)) == 2
        assert torch.equal(pool.images[:, 0, 0, 0].long(), pool.labels)

    def test_the_place_is_drawn(self):
        gone = set()
        for seed in range(20):
            pool = Kept(3, (1, 2, 2))
            pool.put(*numbered(1, 2, 3), Rng(0))
            pool.put(*numbered(4), Rng(seed))
            gone |= {1, 2, 3} - set(inside(pool))
        assert gone == {1, 2, 3}

    def test_of_more_than_there_is_room_for_the_first_stay(self):
        pool = Kept(2, (1, 2, 2))
        pool.put(*numbered(1, 2, 3), Rng(0))
        pool.put(*numbered(4, 5, 6), Rng(0))
        assert inside(pool) == [4, 5]

    def test_drawn_are_different_ones_with_their_labels_and_all_where_there_are_few(self):
        pool = Kept(9, (1, 2, 2))
        pool.put(*numbered(1, 2, 3, 4), Rng(0))
        images, labels = pool.draw(3, Rng(1))
        assert len(set(labels.tolist())) == 3
        assert set(labels.tolist()) <= {1, 2, 3, 4}
        assert torch.equal(images[:, 0, 0, 0].long(), labels)
        assert sorted(pool.draw(7, Rng(1))[1].tolist()) == [1, 2, 3, 4]
        assert len({tuple(pool.draw(2, Rng(seed))[1].tolist()) for seed in range(9)}) > 3

    def test_it_has_no_weights_and_a_state(self):
        pool = Kept(3, (1, 2, 2))
        pool.put(*numbered(1, 2), Rng(0))
        other = Kept(3, (1, 2, 2))
        other.load_state_dict(pool.state_dict())
        assert not list(pool.parameters())
        assert inside(other) == [1, 2]


class TestPool:
    HARDENING = Pool(evasion="fgsm(eps=0.1)", size=100, renewed=0.25, mixed=0.5)

    def test_a_share_of_the_batch_is_made_anew_and_learned_beside_it(self):
        model, companions = Watched(PLANTED.shape), self.HARDENING.companions(SET)
        batch = self.HARDENING.loss(model, IMAGES, LABELS, companions=companions, rng=Rng(0))
        learned, pool = model.seen[-1], companions["pool"]
        with model.frozen():
            made = Fgsm(eps=0.1).search(Problem(model, IMAGES[:3], LABELS[:3]), rng=Rng(0))

        assert int(pool.filled) == 3
        assert torch.equal(pool.images[:3], made)
        assert torch.equal(pool.labels[:3], LABELS[:3])
        assert torch.equal(learned[:12], IMAGES)
        theirs = [next(n for n in range(3) if torch.equal(image, made[n])) for image in learned[12:]]
        assert sorted(theirs) == [0, 1, 2]
        with torch.no_grad():
            by_hand = cross_entropy(model.logits(learned), torch.cat([LABELS, LABELS[theirs]]))
        torch.testing.assert_close(batch.loss.detach(), by_hand)
        assert batch.total == 12

    def test_examples_stay_and_as_many_are_drawn_as_the_share_says(self):
        model, companions = Watched(PLANTED.shape), self.HARDENING.companions(SET)
        for number in range(4):
            self.HARDENING.loss(model, IMAGES.roll(number, 0), LABELS, companions=companions, rng=Rng(number))
        assert int(companions["pool"].filled) == 12
        assert len(model.seen[-1]) == 12 + 6

    def test_it_is_no_larger_than_the_set(self):
        assert len(self.HARDENING.companions(SET)["pool"].images) == len(SET)
        assert len(Pool(size=5).companions(SET)["pool"].images) == 5

    @pytest.mark.parametrize(
        ("evasion", "budget"),
        [
            ("pgd(eps=0.2)", Budgeted(eps=0.2)),
            ("pgd(eps=0.2, norm='l2')", Budgeted(eps=0.2, norm="l2")),
            ("rfgsm(eps=0.3)", Budgeted(eps=0.3)),
            ("fgsm(eps=3.0, norm='l1')", None),
        ],
    )
    def test_it_is_watched_under_the_budget_of_its_evasion_where_many_steps_can_spend_that(self, evasion, budget):
        assert Pool(evasion=evasion).budget == budget

    def test_one_that_cannot_be_watched_learns_all_and_says_so(self, monkeypatch):
        learned = []
        monkeypatch.setattr(
            batches, "fit", lambda model, images, **k: learned.append(images) or fit(model, images, **k)
        )
        images, given = PLANTED.images(20, "more"), {"recipe": "recipe(epochs=1)", "rng": Rng(0)}
        made = Pool(evasion="fgsm(eps=3.0, norm='l1')").train(Watched(PLANTED.shape), images, **given)
        assert made.training.heldout == 0
        assert made.notes == ("No images were held out: nothing says how attacks on it went.",)

        watched = self.HARDENING.train(Watched(PLANTED.shape), images, **given)
        assert watched.training.heldout == 8
        assert [len(those) for those in learned] == [80, 72]

    def test_every_evasion_can_fill_it(self):
        for kind in EVASIONS:
            companions = self.HARDENING.companions(SET)
            hardening = Pool(evasion=kind.quick)
            hardening.loss(PLANTED.model(), IMAGES, LABELS, companions=companions, rng=Rng(0))
            assert int(companions["pool"].filled) == 1
