"""The diversity loss is a ratio of distances, and has a gradient where outputs are equal."""

import pytest
import torch

from mantrap.core import Rng
from mantrap.ops.diversity import diversity_loss, partners


def test_it_is_the_mean_ratio_of_root_mean_squares():
    inputs, others = torch.zeros(2, 3), torch.tensor([[3.0, 3, 3], [0, 0, 6]])
    outputs, other_outputs = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 2.0)
    expected = (3 / 2 + (12**0.5) / 2) / 2
    assert float(diversity_loss(inputs, others, outputs, other_outputs)) == pytest.approx(expected, rel=1e-5)


def test_equal_outputs_cost_much_and_have_a_finite_gradient():
    outputs = torch.zeros(2, 4, requires_grad=True)
    loss = diversity_loss(torch.zeros(2, 4), torch.ones(2, 4), outputs, outputs.flip(0))
    loss.backward()
    assert float(loss.detach()) > 1e6
    assert bool(outputs.grad.isfinite().all())


def test_no_pairs_cost_nothing():
    none = torch.zeros(0, 4)
    assert float(diversity_loss(none, none, none, none)) == 0.0


@pytest.mark.parametrize("count", [2, 3, 10])
def test_nobody_is_his_own_partner_and_everybody_is_somebodys(count):
    for seed in range(10):
        chosen = partners(count, Rng(seed))
        assert sorted(chosen.tolist()) == list(range(count))
        assert not bool((chosen == torch.arange(count)).any())


def test_partners_differ_from_stream_to_stream_and_one_alone_has_himself():
    assert len({tuple(partners(10, Rng(seed)).tolist()) for seed in range(20)}) > 3
    assert partners(1, Rng(0)).tolist() == [0]
    assert partners(0, Rng(0)).tolist() == []
