"""``mantrap train``."""

from dataclasses import dataclass

from cyclopts import Parameter

from mantrap.cli.options import Declared, Images, Output, Running
from mantrap.cli.progress import watching
from mantrap.cli.showing import already, show, version_of


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Training:
    """What to train, and how."""

    arch: str
    """Spec of an architecture; sizes that it leaves open are taken from the images."""
    recipe: str = "recipe"
    """How to train, such as "recipe(epochs=5, optimizer='sgd(lr=0.1, momentum=0.9)')"."""
    test: str | None = None
    """Images to measure the accuracy on; the test split of --images where that is a named set."""
    safely: str | None = None
    """Spec of a way to train on images that may be poisoned, such as isolation; see `mantrap list "safe trainings"`."""
    against: str | None = None
    """Spec of a way to train against adversarial examples, such as fgsm_training; see `mantrap list hardenings`."""


_DECLARED, _RUNNING = Declared(), Running()


def train(
    *,
    images: Images,
    training: Training,
    output: Output,
    declared: Declared = _DECLARED,
    running: Running = _RUNNING,
) -> int:
    """Train a model and save it as NAME.safetensors, with its card beside it; the same command goes on after a kill."""
    from mantrap.core import Rng, Spec, build  # noqa: PLC0415 - torch
    from mantrap.evade.hardening import HARDENINGS  # noqa: PLC0415 - torch
    from mantrap.models import device  # noqa: PLC0415 - torch
    from mantrap.models.cards import card_path  # noqa: PLC0415 - torch
    from mantrap.repair import SAFE_TRAININGS  # noqa: PLC0415 - torch
    from mantrap.training import Recipe  # noqa: PLC0415 - torch
    from mantrap.workflow.train import SafeRecipe, new_classifier, start_over  # noqa: PLC0415 - torch
    from mantrap.workflow.train import train as run  # noqa: PLC0415 - torch

    running.apply()
    how = build(Recipe, Spec.parse(training.recipe))
    safely = None if training.safely is None else SAFE_TRAININGS.create(training.safely)
    against = None if training.against is None else HARDENINGS.create(training.against)
    whole = SafeRecipe(how, safely, against)
    found = images.load(split="train", seed=running.seed)
    test = images.measured_on(training.test, seed=running.seed)
    rng = Rng(running.seed)
    model = new_classifier(training.arch, found, declared=declared.preprocessing(), rng=rng)
    model.module.to(device(running.device))
    if output.fresh:
        start_over(output.out)
    before = version_of(card_path(output.out))
    watch = watching(quiet=running.quiet)
    card = run(model, found, output.out, test=test, recipe=whole, rng=rng, progress=watch)
    unchanged = already(card_path(output.out), before)
    show(card, as_json=output.json, title=f"{output.out}: ", more=unchanged)
    return 0
