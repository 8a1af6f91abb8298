"""How networks stand adversarial examples: the cells of docs/parity.md on them.

Goodfellow et al., ICLR 2015, on digits: what one step of eps .25 does to a softmax, to a network that tells threes from
sevens, to maxout networks and a radial basis network; what training against it changes, beside noise of the same size
and beside dropout; what many steps do to it all the same, and what is left of one step when a picture is filtered.
"""

import time
from dataclasses import dataclass

import torch
from parity_evasions_table import EvasionCell
from parity_places import ROOT
from torch import Tensor

from mantrap.core import Classifier, Evasion, ImageSet, Rng
from mantrap.core.shapes import Images
from mantrap.data import load
from mantrap.evade import Fgsm, Pgd, perturb
from mantrap.evade.hardening import HARDENINGS
from mantrap.evade.transformations import TRANSFORMATIONS
from mantrap.models import Preprocessing, open_model
from mantrap.ops.intervals import wilson
from mantrap.ops.scores import fitting_batch
from mantrap.records import Rate
from mantrap.training import Recipe
from mantrap.workflow.train import SafeRecipe, new_classifier, train

RUNS = ROOT / "runs" / "evasions"
SEEDS = 3
EPS = 0.25
MANY = 1000
"""Test images for many steps and for filters, the first ones; one step has all."""
FILTERS = ("jpeg(quality=75)", "blur(sigma=1.0)", "random_resize(least=0.8)")
_LONG = Recipe(epochs=20, batch_size=100, optimizer="adam(lr=0.001)", schedule="cosine")
_SHORT = Recipe(epochs=10, batch_size=100, optimizer="adam(lr=0.001)", schedule="cosine")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network and how it is trained.

    Args:
        arch: Spec of the architecture.
        recipe: How to train.
        against: Spec of a hardening; ``None`` for plain training.
        images: What it learns.
        sigmoid: Whether confidence is that of each class by itself, as in a network that may believe in none.
    """

    arch: str
    recipe: Recipe = _LONG
    against: str | None = None
    images: str = "mnist"
    sigmoid: bool = False


_RELU, _MAXOUT = "mlp(hidden=(400, 400))", "maxout"
NETWORKS = {
    "softmax": Network(arch="mlp(hidden=())", recipe=_SHORT),
    "three-or-seven": Network(arch="mlp(hidden=())", recipe=_SHORT, images="mnist(classes=(3, 7))"),
    "relu": Network(arch=_RELU),
    "relu-dropout": Network(arch="mlp(hidden=(400, 400), dropout=0.5)"),
    "relu-fgsm": Network(arch=_RELU, against="fgsm_training"),
    "relu-noise-signs": Network(arch=_RELU, against="noise"),
    "relu-noise-even": Network(arch=_RELU, against="noise(drawn='even')"),
    "maxout": Network(arch=_MAXOUT),
    "maxout-fgsm": Network(arch=_MAXOUT, against="fgsm_training"),
    "rbf": Network(
        arch="rbf",
        recipe=Recipe(epochs=10, batch_size=100, optimizer="adam(lr=0.03)", loss="one_against_rest"),
        sigmoid=True,
    ),
}


@dataclass(frozen=True)
class Cell:
    """One network with one seed."""

    network: str
    seed: int

    @property
    def name(self) -> str:
        """What it is called."""
        return f"evasions-{self.network}-s{self.seed}"


def cells() -> list[Cell]:
    """All cells."""
    return [Cell(network, seed) for network in NETWORKS for seed in range(SEEDS)]


def run(cell: Cell) -> EvasionCell:
    """Train the network, and mislead it."""
    begun, network = time.process_time(), NETWORKS[cell.network]
    learned, test = (load(network.images, split=split) for split in ("train", "test"))
    path, rng = RUNS / f"{cell.network}-s{cell.seed}.safetensors", Rng(cell.seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = new_classifier(network.arch, learned, declared=Preprocessing(), rng=rng)
    against = None if network.against is None else HARDENINGS.create(network.against)
    train(fresh, learned, path, test=None, recipe=SafeRecipe(network.recipe, None, against), rng=rng)
    model, some = open_model(path, images_shape=test.shape), test.subset(range(min(MANY, len(test))))
    assert test.labels is not None
    assert some.labels is not None
    misled, near = _perturbed(Fgsm(eps=EPS), model, test, rng), _perturbed(Pgd(eps=EPS), model, some, rng)
    said = _said(model, misled)
    wrong = said.argmax(1) != test.labels
    belief = (said.sigmoid() if network.sigmoid else said.softmax(1)).amax(1)
    return EvasionCell(
        name=cell.name,
        clean=_error(_said(model, test.images()), test.labels),
        fgsm=_error(said, test.labels),
        confidence=float(belief[wrong].mean()) if bool(wrong.any()) else None,
        pgd=_error(_said(model, near), some.labels),
        filtered={
            spec: _error(_said(model, TRANSFORMATIONS.create(spec)(misled[: len(some)], rng=rng)), some.labels)
            for spec in FILTERS
        },
        cpu_seconds=time.process_time() - begun,
    )


def _perturbed(evasion: Evasion, model: Classifier, images: ImageSet, rng: Rng) -> Images:
    """Examples of all images, the wrong ones included, as the paper has it."""
    made = []
    for number, batch in enumerate(images.batches(fitting_batch(images))):
        assert batch.labels is not None
        stream = rng.child(evasion.name, batch=number)
        made.append(perturb(evasion, model, batch.images, batch.labels, rng=stream).images)
    return torch.cat(made)


def _said(model: Classifier, images: Images) -> Tensor:
    with model.frozen(), torch.no_grad():
        return torch.cat([model.logits(some) for some in images.split(fitting_batch(images))])


def _error(said: Tensor, labels: Tensor) -> Rate:
    return wilson(int((said.argmax(1) != labels).sum()), len(labels))
