"""Models that the user trusts, measured as the model in question is: what is ordinary about each label of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mantrap.core import Classifier, Cost, Detector, ImageSet, Memo, OutOfTime, Pair, Progress, Rng
from mantrap.errors import MissingDataError, UsageError
from mantrap.models.cards import marked_backdoored
from mantrap.records import CheckRecord, CheckStatus
from mantrap.workflow.comparing import compare, models_of, null_for
from mantrap.workflow.heights import Measured
from mantrap.workflow.plan import Reference
from mantrap.workflow.verdict import CHANCE_BELOW
from mantrap.workflow.words import percent

_SUFFIXES = (".safetensors", ".pt", ".pth")
"""Of files in a folder of references."""


@dataclass(frozen=True)
class Looked:
    """What detectors measured of one reference, and what that cost."""

    reference: Reference
    measured: Measured
    cost: Cost


def reference_files(given: Sequence[Path]) -> tuple[Path, ...]:
    """Files of weights, and those that lie in folders, by name.

    Raises:
        MissingDataError: A file or folder is not there, or a folder holds no file of weights.
        UsageError: A file is marked as backdoored.
    """
    found: list[Path] = []
    for path in given:
        files = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES) if path.is_dir() else [path]
        if not files or not path.exists():
            raise MissingDataError(
                expected=f"a reference model, or a folder of files named {', '.join('*' + s for s in _SUFFIXES)}",
                got=f"{path}, {'which holds none' if path.exists() else 'which is not there'}",
                remedy="Name a file of weights, or the folder that they lie in.",
            )
        found += files
    for path in found:
        mark = marked_backdoored(path)
        if mark:
            raise UsageError(
                expected="references without a backdoor",
                got=f"{path.name}, whose card says: {mark}",
                remedy="Give models that you trust.",
            )
    return tuple(dict.fromkeys(found))


def check_references(references: Sequence[Reference], model: Classifier) -> None:
    """Refuse references that cannot be compared with a model.

    Raises:
        UsageError: A reference with other classes, images of another shape or another network, the same weights twice,
            or those of the model itself.
    """
    seen = {model.digest(): "the model in question"}
    for reference in references:
        name, other = reference.source.file_name, reference.model
        task = (model.num_classes, model.input_shape)
        if (other.num_classes, other.input_shape) != task:
            raise UsageError(
                expected=f"references of {task[0]} classes and images of {task[1]}",
                got=f"{name} of {other.num_classes} classes and images of {other.input_shape}",
                remedy="Give models that learned the same task.",
            )
        if _network(other) != _network(model):
            raise UsageError(
                expected=f"references of the same network, {_network(model)}",
                got=f"{name}, a {_network(other)}",
                remedy="Give models of the same network: others find other labels easy.",
            )
        unnamed = tuple(map(str, range(other.num_classes)))
        if unnamed not in (other.class_names, model.class_names) and other.class_names != model.class_names:
            raise UsageError(
                expected="references with the classes of the model, in the same order",
                got=f"{name}, which has other names for them, or another order",
                remedy="Give models that learned the same task.",
            )
        weights = other.digest()
        if weights in seen:
            raise UsageError(
                expected="references that are models of their own",
                got=f"{name}, which is {seen[weights]}",
                remedy="Leave it out.",
            )
        seen[weights] = name


def _network(model: Classifier) -> str:
    """What kind of network it is, whatever its sizes and whichever file its code is in."""
    return model.arch.rpartition(":")[2].partition("(")[0]


@dataclass(frozen=True)
class Again:
    """What detectors measured of another model, what pairs of classes needed there, and what that cost."""

    measured: Measured
    pairs: Mapping[Pair, float] | None
    cost: Cost


def measure(
    model: Classifier,
    who: Sequence[tuple[Detector, Memo] | None],
    scan: ImageSet,
    heldout: ImageSet,
    *,
    labels: Sequence[int] | None,
    rng: Rng,
    progress: Progress,
) -> Again:
    """Measure another model as the one in question was measured, with the same images and the same randomness.

    Args:
        model: A reference, or a copy.
        who: Detectors, and where the finished work of each is kept; ``None`` for one that is left out.
        scan: Images to search with.
        heldout: Other images.
        labels: Which labels; all where ``None``.
        rng: Source of randomness of the detectors.
        progress: Observer of the work.

    Raises:
        OutOfTime: The observer has waited long enough, and not all labels were reached.
    """
    measured: list[Mapping[str, Mapping[int, float]]] = []
    cost, pairs = Cost(), None
    for one in who:
        traits: Mapping[str, Mapping[int, float]] = {}
        if one is not None:
            detector, memo = one
            found = detector.detect(model, scan, heldout=heldout, labels=labels, rng=rng, progress=progress, memo=memo)
            if found.missed:
                raise OutOfTime
            traits, cost = found.traits, cost + found.cost
            pairs = pairs if found.pairs is None else found.pairs.norms
        measured.append(traits)
    return Again(measured, pairs, cost)


def check_of(looked: Sequence[Looked]) -> CheckRecord:
    """Whether a reference looks backdoored itself, by the table of clean models alone."""
    doubtful = []
    for one in looked:
        model = one.reference.model
        compared = compare(one.measured, null_for(model.arch, model.input_shape))
        if compared is not None and (chance := compared.chance_of(compared.first)) < CHANCE_BELOW:
            name, label = one.reference.source.file_name, model.class_names[compared.first.label]
            doubtful.append(f"{name}, by label {label} (chance {percent(chance)})")
    message = f"Beside it {models_of(len(looked))} of the same task {'was' if len(looked) == 1 else 'were'} measured."
    if doubtful:
        message += f" Not all look clean, and one that is not hides what they share: {'; '.join(doubtful)}."
    return CheckRecord(
        name="references", status=CheckStatus.WARNED if doubtful else CheckStatus.PASSED, message=message
    )
