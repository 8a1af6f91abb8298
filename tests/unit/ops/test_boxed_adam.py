"""Adam, number by number, and never outside the box."""

import torch

from mantrap.core import Rng
from mantrap.ops.boxed_adam import BETAS, BoxedAdam


def test_inside_the_box_it_is_torchs_adam():
    start = 0.4 + 0.2 * torch.rand(3, 5, generator=Rng(0).torch())
    ours, theirs = start.clone(), start.clone().requires_grad_()
    mine = BoxedAdam(ours, 0.01)
    other = torch.optim.Adam([theirs], lr=0.01, betas=BETAS, eps=1e-7)
    for step in range(8):
        slope = torch.randn(3, 5, generator=Rng(step).torch())
        mine.descend(slope)
        theirs.grad = slope
        other.step()

    assert torch.allclose(ours, theirs, atol=1e-6)


def test_it_stops_at_the_edges_and_comes_back():
    values = torch.tensor([0.05, 0.95])
    adam = BoxedAdam(values, 0.1)
    for _ in range(3):
        adam.descend(torch.tensor([1.0, -1.0]))
    assert values.tolist() == [0.0, 1.0]
    for _ in range(3):
        adam.descend(torch.tensor([-1.0, 1.0]))
    assert 0 < float(values[0]) <= 1
    assert 0 <= float(values[1]) < 1


def test_a_share_of_a_step_is_as_much_shorter():
    whole, half = torch.tensor([0.5]), torch.tensor([0.5])
    BoxedAdam(whole, 0.1).descend(torch.ones(1))
    BoxedAdam(half, 0.1).descend(torch.ones(1), share=0.5)

    assert torch.allclose(0.5 - half, (0.5 - whole) / 2)
