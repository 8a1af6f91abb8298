"""``mantrap implant``."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from mantrap.cli.figures import ALREADY, ended, share
from mantrap.cli.options import Declared, Images, Output, Running, version_of
from mantrap.cli.progress import watching
from mantrap.errors import UsageError

if TYPE_CHECKING:
    from mantrap.core import Classifier, ImageSet
    from mantrap.records import AttackMeasure, ImplantRecord


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
    """A model of the same recipe without the backdoor, to compare with; attacks that need a model take it, too."""


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
    clean = None if making.clean is None else _clean(making.clean, making.arch, found, declared, running)
    work = Implanting(
        attack=attack,
        model=model,
        images=found,
        recipe=recipe,
        rng=rng,
        surrogate=clean if making.start is None else model,
        test=images.measured_on(making.test, seed=running.seed),
        clean_model=clean,
    )
    before = version_of(record_path(output.out))
    record = run(work, output.out, fresh=output.fresh, progress=watching(quiet=running.quiet))
    if output.json:
        sys.stdout.write(record.to_json())
        return 0
    already = before is not None and before == version_of(record_path(output.out))
    sys.stdout.write(f"{output.out}: {_summary(record)}\n" + (ALREADY if already else ""))
    return 0


def _start(making: Making, images: "ImageSet", declared: Declared, running: Running) -> "Classifier":
    """A classifier with fresh weights, or a trained one."""
    from mantrap.core import Rng  # noqa: PLC0415 - torch
    from mantrap.models import device, open_model  # noqa: PLC0415 - torch
    from mantrap.workflow.train import new_classifier  # noqa: PLC0415 - torch

    said = declared.preprocessing()
    if making.start is not None:
        return open_model(
            making.start, arch=making.arch, images_shape=images.shape, declared=said, device=running.device
        )
    if making.arch is None:
        raise UsageError(
            expected="a model to plant the backdoor in",
            got="neither --arch nor --from",
            remedy="Give --arch for fresh weights, or --from with a trained model.",
        )
    model = new_classifier(making.arch, images, declared=said, rng=Rng(running.seed))
    model.module.to(device(running.device))
    return model


def _clean(path: Path, arch: str | None, images: "ImageSet", declared: Declared, running: Running) -> "Classifier":
    """The model to compare with, as its card says, or else as is said of the other."""
    from mantrap.models import Preprocessing, open_model  # noqa: PLC0415 - torch
    from mantrap.models.cards import card_path, marked_backdoored  # noqa: PLC0415 - torch

    if mark := marked_backdoored(path):
        raise UsageError(
            expected=f"a model without a backdoor in {path}",
            got=f"one that says {mark!r}",
            remedy="Give another --clean.",
        )
    carded = card_path(path).is_file()
    return open_model(
        path,
        arch=None if carded else arch,
        images_shape=images.shape,
        declared=Preprocessing() if carded else declared.preprocessing(),
        device=running.device,
    )


def _summary(record: "ImplantRecord") -> str:
    lines = [f"{record.attack} in {record.arch}"]
    if record.training is not None:
        lines.append(ended(record.training))
    if record.accuracy is None:
        lines.append("Nothing was measured: give --test.")
    else:
        lines.append(f"Accuracy on {record.test_name}: {share(record.accuracy)}")
    if (change := record.comparison) is not None:
        interval = f"{100 * change.low:+.2f} to {100 * change.high:+.2f}"
        lines.append(
            f"The clean model: {share(change.second)}; difference {100 * change.value:+.2f} points ({interval})"
        )
    lines += [_works(backdoor) for backdoor in record.backdoors]
    return "\n".join([*lines, "Card and file mark the model as backdoored; the truth lies beside them."])


def _works(backdoor: "AttackMeasure") -> str:
    text = f"{backdoor.trigger}, {backdoor.relabelling}: works on {share(backdoor.success)}"
    if backdoor.clean_model_success is None:
        return text
    return f"{text}; on the clean model {100 * backdoor.clean_model_success.value:.2f} %"
