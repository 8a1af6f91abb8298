"""Give a trained network another number of classes."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mantrap.core import Classifier, Rng, Spec, build
from mantrap.errors import UsageError
from mantrap.models.architectures import ARCHITECTURES, Architecture
from mantrap.models.fitting import load_weights


def with_classes(
    classifier: Classifier, num_classes: int, *, rng: Rng, fresh: Sequence[str] = (), class_names: Sequence[str] = ()
) -> Classifier:
    """The same network for another task: what does not depend on the number of classes keeps its weights.

    The layers that do depend on it begin anew, also where the number stays the same, for the classes are others.

    Args:
        classifier: A network of one of our architectures; unchanged.
        num_classes: Number of logits, at least 2.
        rng: Source of the fresh weights.
        fresh: Names of further layers that begin anew, with all below them.
        class_names: A name for each class; the numbers where none are given.

    Returns:
        The classifier, on the device of the other, with its preprocessing.

    Raises:
        ModelError: The weights are not those of the architecture that the classifier claims.
        SpecError: It is none of our architectures, or cannot have so many classes.
        UsageError: There is no such layer to begin anew.

    Example:
        >>> from mantrap.models import ARCHITECTURES
        >>> digits = Classifier(
        ...     ARCHITECTURES.create("mnist_cnn").build(), input_shape=(1, 28, 28), num_classes=10, arch="mnist_cnn"
        ... )
        >>> letters = with_classes(digits, 26, rng=Rng(0))
        >>> letters.num_classes, letters.arch
        (26, 'mnist_cnn(num_classes=26)')
    """
    spec = Spec.parse(classifier.arch)
    architecture, larger = (_sized(spec, count) for count in (num_classes, num_classes + 1))
    with rng.child("weights").as_global():
        module = architecture.build()
    drawn = module.state_dict()
    begins_anew = _head(drawn, larger) | _below(fresh, drawn)
    given = {name: tensor for name, tensor in classifier.module.state_dict().items() if name not in begins_anew}
    arch = str(Spec(spec.name, {**spec.options, "num_classes": num_classes}))
    load_weights(module, given | {name: drawn[name] for name in begins_anew}, tried=arch)
    return Classifier(
        module.to(classifier.device),
        input_shape=classifier.input_shape,
        num_classes=num_classes,
        mean=classifier.mean,
        std=classifier.std,
        pixel_range=classifier.pixel_range,
        class_names=class_names,
        arch=arch,
    )


def _sized(spec: Spec, num_classes: int) -> Architecture:
    kind = ARCHITECTURES.kind(spec.name)
    return build(kind, Spec(spec.name, {**spec.options, "num_classes": num_classes}, spec.file))


def _head(drawn: Mapping[str, Tensor], larger: Architecture) -> set[str]:
    """The names of what has another shape where there is one class more; nothing is drawn or allocated for that."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in larger.build().state_dict().items()}
    return {name for name, tensor in drawn.items() if tensor.shape != shapes[name]}


def _below(layers: Sequence[str], drawn: Mapping[str, Tensor]) -> set[str]:
    """The names of the weights in these layers."""
    found: set[str] = set()
    for layer in layers:
        inside = {name for name in drawn if name.startswith(f"{layer}.")}
        if not inside:
            raise UsageError(
                expected=f"layers with weights out of {', '.join(dict.fromkeys(n.rpartition('.')[0] for n in drawn))}",
                got=repr(layer),
                remedy="Name one of these layers, or one that holds some of them.",
            )
        found |= inside
    return found
