"""Our evasions beside those of other libraries: how often they mislead, how far they go, and what they cost.

    python benchmarks/evasions.py          what is not measured, then the table into docs/evade.md
    python benchmarks/evasions.py --again  everything
    python benchmarks/evasions.py --table  only the table

Needs the extra ``rivals`` and the model ``mnist-badnets-s0`` of benchmarks/parity.py. All make examples of the same
clean test images, one library after the other, 20 times over; what is compared is CPU time, at one thread. Nothing else
should run meanwhile. Measured lines are kept in ``benchmarks/results/rivals``.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from parity_detection import RUNS
from parity_places import ROOT, put
from torch import Tensor, nn

from mantrap.core import Classifier, Rng
from mantrap.data import load
from mantrap.evade import EVASIONS, perturb
from mantrap.models import open_model
from mantrap.ops.projections import norms
from mantrap.records.files import write_atomically

PAGE = ROOT / "docs" / "evade.md"
RESULTS = ROOT / "benchmarks" / "results" / "rivals"
MODEL, DATA = "mnist-badnets-s0", "mnist"
RUNS_OF_EACH, RESAMPLES = 20, 10_000
ALIKE = 0.01
"""Share of images by which two successes count as equal."""

Make = Callable[[Tensor, Tensor], Tensor]
Options = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """One evasion, and what it is called elsewhere, with the same settings.

    Args:
        ours: Spec of ours.
        images: How many at once.
        torchattacks: Name and options there.
        foolbox: The same; ``eps`` is given to the call.
        art: The same.
        eps: Budget; ``None`` for the smallest norm.
    """

    ours: str
    images: int
    eps: float | None = None
    torchattacks: tuple[str, Options] | None = None
    foolbox: tuple[str, Options] | None = None
    art: tuple[str, Options] | None = None


CASES = {
    "FGSM": Case(
        "fgsm(eps=0.1)",
        100,
        0.1,
        torchattacks=("FGSM", {"eps": 0.1}),
        foolbox=("LinfFastGradientAttack", {"random_start": False}),
        art=("FastGradientMethod", {"eps": 0.1, "batch_size": 100}),
    ),
    "PGD-40": Case(
        "pgd(eps=0.1)",
        100,
        0.1,
        torchattacks=("PGD", {"eps": 0.1, "alpha": 0.01, "steps": 40, "random_start": True}),
        foolbox=("LinfPGD", {"abs_stepsize": 0.01, "steps": 40, "random_start": True}),
        art=(
            "ProjectedGradientDescentPyTorch",
            {"eps": 0.1, "eps_step": 0.01, "max_iter": 40, "num_random_init": 1, "batch_size": 100, "verbose": False},
        ),
    ),
    "APGD-CE": Case(
        "apgd(eps=0.1, steps=40)",
        100,
        0.1,
        torchattacks=("APGD", {"norm": "Linf", "eps": 0.1, "steps": 40, "n_restarts": 1, "loss": "ce"}),
        art=(
            "AutoProjectedGradientDescent",
            {"eps": 0.1, "eps_step": 0.2, "max_iter": 40, "nb_random_init": 1, "batch_size": 100, "verbose": False},
        ),
    ),
    "DeepFool": Case(
        "deepfool",
        20,
        torchattacks=("DeepFool", {"steps": 50, "overshoot": 0.02}),
        foolbox=("L2DeepFoolAttack", {"steps": 50, "candidates": 10, "overshoot": 0.02}),
        art=("DeepFool", {"max_iter": 50, "epsilon": 0.02, "nb_grads": 10, "batch_size": 20, "verbose": False}),
    ),
    "C&W": Case(
        "carlini_wagner(steps=100, searches=6)",
        20,
        torchattacks=("CW", {"c": 1.0, "kappa": 0, "steps": 100, "lr": 0.05}),
        foolbox=("L2CarliniWagnerAttack", {"binary_search_steps": 6, "steps": 100, "stepsize": 0.05}),
        art=(
            "CarliniL2Method",
            {"binary_search_steps": 6, "max_iter": 100, "learning_rate": 0.05, "batch_size": 20, "verbose": False},
        ),
    ),
}


@dataclass(frozen=True)
class Line:
    """What one library comes to: share misled, median length of the change, and CPU seconds of each run."""

    misled: float
    length: float
    seconds: list[float] = field(default_factory=list)


class Bare(nn.Module):
    """A classifier as other libraries take it: images in [0, 1] in, logits out."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.inner, self._model = model.module, [model]

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        return self._model[0].logits(images)


def makers(case: Case, model: Classifier) -> dict[str, Make]:
    """Each library's way to make examples."""
    ours = EVASIONS.create(case.ours)
    found: dict[str, Make] = {"mantrap": lambda x, y: perturb(ours, model, x, y, rng=Rng(0)).images}
    bare = Bare(model).eval()
    if case.torchattacks is not None:
        import torchattacks  # noqa: PLC0415 - an extra

        name, options = case.torchattacks
        theirs = getattr(torchattacks, name)(bare, **options)
        found["torchattacks"] = theirs
    if case.foolbox is not None:
        import foolbox  # noqa: PLC0415 - an extra

        name, options = case.foolbox
        attack = getattr(foolbox.attacks, name)(**options)
        wrapped = foolbox.PyTorchModel(bare, bounds=(0, 1), device="cpu")
        found["foolbox"] = lambda x, y: attack(wrapped, x, y, epsilons=case.eps)[1]
    if case.art is not None:
        from art.attacks import evasion  # noqa: PLC0415 - an extra
        from art.estimators.classification import PyTorchClassifier  # noqa: PLC0415 - an extra

        name, options = case.art
        estimator = PyTorchClassifier(
            bare, nn.CrossEntropyLoss(), model.input_shape, model.num_classes, clip_values=(0.0, 1.0), device_type="cpu"
        )
        of_art = getattr(evasion, name)(estimator, **options)
        found["ART"] = lambda x, y: torch.tensor(of_art.generate(x.numpy(), y.numpy()))
    return found


def measured(case: Case, model: Classifier) -> dict[str, Line]:
    """All libraries in turn, again and again."""
    images = load(DATA, split="test", limit=2 * case.images, rng=Rng(0))
    assert images.labels is not None
    with model.frozen(), torch.no_grad():
        right = (model.logits(images.images()).argmax(1) == images.labels).nonzero().flatten()[: case.images]
    pixels, labels = images.images(right.tolist()), images.labels[right]
    make = makers(case, model)
    seconds: dict[str, list[float]] = {name: [] for name in make}
    outcomes: dict[str, Tensor] = {}
    model.module.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, one in make.items():  # what is built on the first call is not counted
            outcomes[name] = one(pixels, labels).detach()
        for turn in range(RUNS_OF_EACH):
            torch.manual_seed(turn)
            for name, one in make.items():
                begun = time.process_time()
                one(pixels, labels)
                seconds[name].append(time.process_time() - begun)
        return {name: Line(*_outcome(model, pixels, labels, made), seconds[name]) for name, made in outcomes.items()}


def _outcome(model: Classifier, pixels: Tensor, labels: Tensor, made: Tensor) -> tuple[float, float]:
    with torch.no_grad():
        misled = model.logits(made).argmax(1) != labels
    lengths = norms(made - pixels, "l2")[misled]
    return float(misled.float().mean()), float(lengths.median()) if bool(misled.any()) else float("inf")


def ratio(ours: list[float], theirs: list[float]) -> tuple[float, float, float]:
    """Our time over theirs, and the ends of its interval at 95 %, by resampling the turns."""
    drawn = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    ratios = np.asarray(ours)[drawn].mean(1) / np.asarray(theirs)[drawn].mean(1)
    low, high = np.quantile(ratios, (0.025, 0.975))
    return statistics.fmean(ours) / statistics.fmean(theirs), float(low), float(high)


def table(found: Mapping[str, Mapping[str, Line]]) -> str:
    """Markdown rows: for each evasion what each library comes to, and our time over that of the fastest of them."""
    rows = ["| evasion | library | misled | median L2 | CPU ms | mantrap's time over it |", "|---|---|---|---|---|---|"]
    for title, lines in found.items():
        ours = lines["mantrap"]
        for name, line in lines.items():
            beside = "-"
            if name != "mantrap":
                middle, low, high = ratio(ours.seconds, line.seconds)
                beside = f"{middle:.2f} ({low:.2f} to {high:.2f})"
                beside += "" if line.misled >= ours.misled - ALIKE else ", misleads fewer"
            milliseconds = 1000 * statistics.median(line.seconds)
            rows.append(
                f"| {title} | {name} | {100 * line.misled:.0f} % | {line.length:.3f} | {milliseconds:,.0f} | {beside} |"
            )
    return "\n".join(rows)


def main() -> int:
    """Measure what is not measured, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--again", action="store_true", help="measure everything anew")
    parser.add_argument("--table", action="store_true", help="only write the table")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, Line]] = {}
    for title, case in CASES.items():
        path = RESULTS / f"{title}.json"
        if not asked.table and (asked.again or not path.exists()):
            model = open_model(RUNS / MODEL / "model.safetensors", images_shape=(1, 28, 28))
            lines = {name: asdict(line) for name, line in measured(case, model).items()}
            write_atomically(path, (json.dumps(lines, indent=1) + "\n").encode())
        if path.exists():
            found[title] = {name: Line(**line) for name, line in json.loads(path.read_text()).items()}
            sys.stdout.write(f"{table({title: found[title]})}\n")
    put(PAGE, "rivals", table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
