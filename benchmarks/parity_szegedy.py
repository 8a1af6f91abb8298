"""Whether what misleads one network misleads others: the cells of docs/parity.md on the tables of Szegedy et al., 2014.

**networks** are their six on digits, and the network of Neural Cleanse as a convolutional one, for AlexNet and QuocNet
cannot be trained here. **halves** are two networks that learned from one half of the digits and one that learned from
the other. Examples are made by box-constrained L-BFGS and shown to all.
"""

from dataclasses import dataclass

import torch
from parity_places import ROOT

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.data import load
from mantrap.evade import Lbfgs
from mantrap.models import Preprocessing, open_model
from mantrap.records import TransferRecord
from mantrap.training import Recipe
from mantrap.workflow.plan import Source
from mantrap.workflow.train import new_classifier, train
from mantrap.workflow.transfer import transfer
from mantrap.workflow.transferring import Transferring

RUNS = ROOT / "runs" / "szegedy"
SEEDS = 3
IMAGES = 200


def _decayed(decay: str) -> Recipe:
    """Plain training, with weights held down."""
    return Recipe(epochs=10, batch_size=128, optimizer=f"adam(weight_decay={decay})", schedule="cosine")


_SIGMOID = Recipe(epochs=15, batch_size=128, optimizer="adam(lr=0.003)", schedule="cosine")
NETWORKS: dict[str, tuple[str, Recipe]] = {
    "FC10(1e-4)": ("mlp(hidden=())", _decayed("2e-5")),
    "FC10(1e-2)": ("mlp(hidden=())", _decayed("0.002")),
    "FC10(1)": ("mlp(hidden=())", _decayed("0.2")),
    "FC100-100-10": ("mlp(hidden=(100, 100), activation='sigmoid')", _SIGMOID),
    "FC200-200-10": ("mlp(hidden=(200, 200), activation='sigmoid')", _SIGMOID),
    "AE400-10": (
        "mlp(hidden=(400,), activation='sigmoid')",
        Recipe(epochs=12, batch_size=128, optimizer="adam(lr=0.005)", schedule="cosine", loss="sparse_autoencoder"),
    ),
    "CNN": ("mnist_cnn", Recipe(epochs=3, batch_size=128, optimizer="adam(lr=0.001)")),
}
"""Architecture and recipe of each network."""
HALVES: dict[str, tuple[str, int]] = {
    "FC100-100-10, first half": ("mlp(hidden=(100, 100), activation='sigmoid')", 0),
    "FC123-456-10, first half": ("mlp(hidden=(123, 456), activation='sigmoid')", 0),
    "FC100-100-10, second half": ("mlp(hidden=(100, 100), activation='sigmoid')", 1),
}
"""Architecture of each network, and from which half it learned."""


@dataclass(frozen=True)
class Cell:
    """All networks of one experiment with one seed."""

    experiment: str
    seed: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"szegedy-{self.experiment}-s{self.seed}"


def cells() -> list[Cell]:
    """All cells."""
    return [Cell(experiment, seed) for experiment in ("networks", "halves") for seed in range(SEEDS)]


def run(cell: Cell) -> TransferRecord:
    """Train the networks, make examples for each, and show them to all."""
    learned, rng = load("mnist", split="train"), Rng(cell.seed)
    if cell.experiment == "networks":
        models = [_trained(cell, name, arch, recipe, learned) for name, (arch, recipe) in NETWORKS.items()]
    else:
        order = torch.randperm(len(learned), generator=rng.child("halves").torch()).tolist()
        halves = [learned.subset(sorted(order[start::2])) for start in (0, 1)]
        models = [_trained(cell, name, arch, _SIGMOID, halves[which]) for name, (arch, which) in HALVES.items()]
    test = load("mnist", split="test", limit=2 * IMAGES, rng=rng)
    names = NETWORKS if cell.experiment == "networks" else HALVES
    sources = [Source(name, model.digest()) for name, model in zip(names, models, strict=True)]
    work = Transferring(
        models=tuple(zip(sources, models, strict=True)),
        images=test.subset(range(IMAGES)),
        evasion=Lbfgs(),
        seed=cell.seed,
    )
    return transfer(work)


def _trained(cell: Cell, name: str, arch: str, recipe: Recipe, learned: ImageSet) -> Classifier:
    """The network, trained if it is not there."""
    kept = "".join(c if c.isalnum() else "-" for c in name)
    path = RUNS / f"{cell.experiment}-{kept}-s{cell.seed}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = Rng(cell.seed).child(name)
    fresh = new_classifier(arch, learned, declared=Preprocessing(), rng=rng)
    train(fresh, learned, path, test=None, recipe=recipe, rng=rng)
    return open_model(path, images_shape=learned.shape)
