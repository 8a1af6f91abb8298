"""The door: a stranger's file, or a module in memory, becomes a classifier, or is refused with a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mantrap.core import Classifier, Spec, spec_of
from mantrap.errors import UsageError
from mantrap.models import devices
from mantrap.models.architectures import ARCHITECTURES, Architecture
from mantrap.models.architectures.base import FEWEST_CLASSES
from mantrap.models.cards import read_card
from mantrap.models.fitting import load_weights, refuse_non_finite, without_prefix
from mantrap.models.outputs import count_classes, times
from mantrap.models.user_files import construct
from mantrap.models.weights import printable, read_weights
from mantrap.records import ModelCard

Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How the user says pixels become what the module was trained on; ``None`` where nothing was said.

    What is said stands above the model's card; what is not comes from the card, and without one is nothing at all.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    pixel_range: tuple[float, float] | None = None

    def over(self, card: ModelCard | None) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, float]]:
        """Mean, standard deviation and pixel range, each as said here or else by the card."""
        return (
            self.mean if self.mean is not None else card.mean if card else (),
            self.std if self.std is not None else card.std if card else (),
            self.pixel_range if self.pixel_range is not None else card.pixel_range if card else (0.0, 1.0),
        )


UNDECLARED = Preprocessing()


def open_model(
    path: str | Path,
    *,
    arch: str | None = None,
    images_shape: Shape | None = None,
    declared: Preprocessing = UNDECLARED,
    num_classes: int | None = None,
    device: str = "auto",
) -> Classifier:
    """Open a file of weights as a classifier.

    Sizes come from the card, else from the spec, else from the images; the number of classes from a forward pass. Code
    runs only from a ``FILE.py`` that ``arch`` names; a card cannot name one.

    Args:
        path: safetensors, or a state dict of ``torch.save``.
        arch: A spec of ours, or ``FILE.py:NAME``; needed where the file has no card, and stands above it.
        images_shape: Channels, height and width of the images that the model will see.
        declared: Preprocessing as the user says it is.
        num_classes: Number of classes that the model must have; ``None`` to take what it has.
        device: As for :func:`mantrap.models.device`.

    Raises:
        UsageError: No architecture is known, its file fails, or the images are of another shape than the model's.
        SpecError: The architecture's spec is wrong.
        MissingDataError: A file is not there.
        ModelError: The file, its weights, its card or its outputs cannot be used.
    """
    path, place = Path(path), devices.device(device)
    card = read_card(path)
    weights = read_weights(path)
    spec = _spec(path, arch, card)
    shape = card.input_shape if card else images_shape
    wanted = num_classes if num_classes is not None or card is None else card.num_classes
    if spec.file:
        network, spoken = construct(spec), str(spec)
    else:
        architecture = _fill_in(spec, shape, wanted, weights)
        network, spoken, shape = _sketch(architecture), str(spec_of(architecture)), architecture.input_shape
    shape = _agreed(shape, images_shape, spoken)
    tried = f"{spoken} for images of {times(shape)}"
    load_weights(network, weights, tried=tried).to(place)
    classes = count_classes(network, shape, tried=tried, wanted=wanted)
    mean, std, pixel_range = declared.over(card)
    return Classifier(
        network,
        input_shape=shape,
        num_classes=classes,
        mean=mean,
        std=std,
        pixel_range=pixel_range,
        class_names=card.class_names if card else (),
        arch=spoken,
    )


def wrap(
    module: nn.Module,
    *,
    input_shape: Shape,
    num_classes: int | None = None,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    pixel_range: tuple[float, float] = (0.0, 1.0),
    class_names: Sequence[str] = (),
) -> Classifier:
    """Hold a module in memory as a classifier. The module stays where it is and as it is.

    Args:
        module: Maps normalised images [n, c, h, w] to logits [n, k].
        input_shape: Channels, height and width of one image.
        num_classes: Number of classes that it must have; ``None`` to take what a forward pass shows.
        mean: As for :class:`~mantrap.core.Classifier`.
        std: As for the classifier.
        pixel_range: As for the classifier.
        class_names: As for the classifier.

    Raises:
        UsageError: The preprocessing or the class names do not fit.
        ModelError: Weights are not finite, or the forward pass fails or gives no logits.

    Example:
        >>> wrap(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), input_shape=(1, 28, 28)).num_classes
        10
    """
    refuse_non_finite(module)
    tried = f"{type(module).__name__} for images of {times(input_shape)}"
    classes = count_classes(module, input_shape, tried=tried, wanted=num_classes)
    return Classifier(
        module,
        input_shape=input_shape,
        num_classes=classes,
        mean=mean,
        std=std,
        pixel_range=pixel_range,
        class_names=class_names,
    )


def _spec(path: Path, arch: str | None, card: ModelCard | None) -> Spec:
    """What names the architecture: the user, or else the card as far as it names one of ours."""
    if arch is not None:
        return Spec.parse(arch)
    ours = f"Give --arch with one of {', '.join(ARCHITECTURES.names)}, or FILE.py:NAME."
    if card is None:
        raise UsageError(expected=f"the architecture of {path}", got="neither --arch nor a card", remedy=ours)
    try:
        spec = Spec.parse(card.arch)
    except UsageError:
        spec = None
    if spec is None or spec.file or spec.name not in ARCHITECTURES:
        got = f"a card that names {printable(card.arch)}"
        raise UsageError(expected=f"an architecture of ours for {path}", got=got, remedy=ours)
    return spec


def _fill_in(spec: Spec, shape: Shape | None, num_classes: int | None, weights: Mapping[str, Tensor]) -> Architecture:
    """One of our architectures, with the sizes that its spec leaves open taken from what is known of the model."""
    options = dict(spec.options)
    if shape is not None:
        options = {"channels": shape[0], "height": shape[1], "width": shape[2], **options}
    if num_classes is not None:
        options = {"num_classes": num_classes, **options}
    architecture = ARCHITECTURES.create(Spec(spec.name, options))
    if "num_classes" in options:
        return architecture
    # The last thing in each of our networks is the bias of its last layer: one number for each class.
    names = list(_sketch(architecture).state_dict())
    last = without_prefix(weights, names).get(names[-1])
    if last is None or last.ndim != 1 or len(last) < FEWEST_CLASSES:
        return architecture
    return ARCHITECTURES.create(Spec(spec.name, {**options, "num_classes": len(last)}))


def _sketch(architecture: Architecture) -> nn.Module:
    """The network on the meta device: names and shapes, and no memory."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return architecture.build()


def _agreed(shape: Shape | None, images_shape: Shape | None, spoken: str) -> Shape:
    """The shape of the model's images, which is that of the images at hand where there are any."""
    if shape is None:
        raise UsageError(
            expected="the shape of the images",
            got="neither a card nor images",
            remedy="Give images, or say what they would be like: --resize HxW and --channels 1 or 3, or images_shape.",
        )
    if images_shape is not None and images_shape != shape:
        raise UsageError(
            expected=f"images of {times(shape)}, as {spoken} takes them",
            got=f"images of {times(images_shape)}",
            remedy=f"Give --resize {shape[1]}x{shape[2]} and --channels {shape[0]}, or correct --arch.",
        )
    return shape
