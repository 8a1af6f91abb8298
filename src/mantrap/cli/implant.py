"""``mantrap implant``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mantrap.cli.opening import clean_beside, open_beside, open_said
from mantrap.cli.options import Declared, Images, Output, Running
from mantrap.cli.progress import watching
from mantrap.cli.showing import already, show, version_of
from mantrap.errors import UsageError

if TYPE_CHECKING:
    from mantrap.core import Classifier, ImageSet
    from mantrap.workflow.measure import Clean


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Making:
    """What to plant, and where."""

    attack: tuple[str, ...]
    """Spec of an attack; may be given several times."""
    arch: str | None = None
    """Spec of the architecture of a model with fresh weights; or that of --from, where the file has no card."""
    start: Annotated[Path | None, Parameter(name="--from")] = None
    """A trained model to go on from: a file of weights."""
    recipe: str = "recipe"
    """How to train, such as "recipe(epochs=5)"."""
    test: str | None = None
    """Images to measure on; the test split of --images where that is a named set."""
    clean: Path | None = None
    """A model of the same recipe without the backdoor, to compare with."""
    model: Path | None = None
    """A model of the attacker's, for attacks that need one; where there is none, that of --from or else of --clean."""


_DECLARED, _RUNNING = Declared(), Running()


def implant(
    *,
    images: Images,
    making: Making,
    output: Output,
    declared: Declared = _DECLARED,
    running: Running = _RUNNING,
) -> int:
    """Train or change a model so that it carries a backdoor, measure it, and save it marked as NAME.safetensors."""
    from mantrap.core import Rng, Spec, build  # noqa: PLC0415 - torch
    from mantrap.poison import ATTACKS, combine  # noqa: PLC0415 - torch
    from mantrap.training import Recipe  # noqa: PLC0415 - torch
    from mantrap.workflow.implant import Implanting, record_path  # noqa: PLC0415 - torch
    from mantrap.workflow.implant import implant as run  # noqa: PLC0415 - torch

    running.apply()
    attack = combine([ATTACKS.create(spec) for spec in making.attack])
    recipe = build(Recipe, Spec.parse(making.recipe))
    found = images.load(split="train", seed=running.seed)
    rng = Rng(running.seed)
    model = _start(making, found, declared, running)
    clean = None if making.clean is None else clean_beside(making.clean, making.arch, found, declared, running)
    work = Implanting(
        attack=attack,
        model=model,
        images=found,
        recipe=recipe,
        rng=rng,
        surrogate=_surrogate(making, model, clean, found, declared, running),
        test=images.measured_on(making.test, seed=running.seed),
        clean=clean,
    )
    before = version_of(record_path(output.out))
    record = run(work, output.out, fresh=output.fresh, progress=watching(quiet=running.quiet))
    unchanged = already(record_path(output.out), before)
    show(record, as_json=output.json, title=f"{output.out}: ", more=unchanged)
    return 0


def _start(making: Making, images: "ImageSet", declared: Declared, running: Running) -> "Classifier":
    """A classifier with fresh weights, or a trained one."""
    from mantrap.core import Rng  # noqa: PLC0415 - torch
    from mantrap.models import device  # noqa: PLC0415 - torch
    from mantrap.workflow.train import new_classifier  # noqa: PLC0415 - torch

    if making.start is not None:
        return open_said(making.start, making.arch, images.shape, declared, running)
    if making.arch is None:
        raise UsageError(
            expected="a model to plant the backdoor in",
            got="neither --arch nor --from",
            remedy="Give --arch for fresh weights, or --from with a trained model.",
        )
    model = new_classifier(making.arch, images, declared=declared.preprocessing(), rng=Rng(running.seed))
    model.module.to(device(running.device))
    return model


def _surrogate(
    making: Making,
    model: "Classifier",
    clean: "Clean | None",
    images: "ImageSet",
    declared: Declared,
    running: Running,
) -> "Classifier | None":
    """The model that the attacker has: of their own, or the one that is gone on from, or the clean one."""
    if making.model is not None:
        return open_beside(making.model, making.arch, images, declared, running)
    if making.start is not None:
        return model
    return None if clean is None else clean.model
