"""Adam, number by number, and never outside the box."""

import os
import subprocess
import sys
from pathlib import Path

import torch

import mantrap
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


def test_it_stops_at_a_lower_edge_of_ones_own():
    values = torch.tensor([-0.95, 0.5])
    adam = BoxedAdam(values, 0.1, low=-1.0)
    for _ in range(3):
        adam.descend(torch.tensor([1.0, 1.0]))

    assert float(values[0]) == -1.0
    assert 0 < float(values[1]) < 0.5


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


SCANS = """
import sys
import torch
from torch import nn
from mantrap.core import ImageSet, Rng
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS
from mantrap.models import wrap

images = ImageSet.from_array(torch.rand(12, 1, 6, 5), torch.arange(12) % 3)
model = wrap(nn.Sequential(nn.Flatten(), nn.Linear(30, 3)), input_shape=images.shape)
for name in DEFAULT_DETECTORS:
    detector = next(kind for kind in DETECTORS if kind.name == name)
    DETECTORS.create(detector.quick).detect(model, images, heldout=images, rng=Rng(0))
print("torch._dynamo" in sys.modules)
torch.optim.Adam([torch.zeros(1, requires_grad=True)])
print("torch._dynamo" in sys.modules)
"""


def test_a_scan_does_not_load_torchs_compiler_as_an_optimiser_of_torch_would():
    environment = os.environ | {"PYTHONPATH": str(Path(mantrap.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", SCANS], env=environment, capture_output=True, text=True, check=False)

    assert (done.stdout.split(), done.stderr) == (["False", "True"], "")
