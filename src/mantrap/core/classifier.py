"""A trained image classifier, held so that looking at it does not change it."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mantrap.core.shapes import Images, Logits
from mantrap.core.snapshot import Snapshot
from mantrap.errors import ModelError, UsageError


class Classifier:
    """A module with its own normalisation inside: pixel space [0, 1] in, logits out.

    Args:
        module: Maps normalised images [n, c, h, w] to logits [n, k].
        input_shape: Channels, height and width of one image.
        num_classes: Number of logits.
        mean: Subtracted by channel after scaling to ``pixel_range``; empty for none.
        std: Divided by, by channel; empty for none.
        pixel_range: What black and white are for the module before normalisation; ``(0, 255)`` for raw values.
        class_names: A name for each class; the numbers where none are given.
        arch: Spec of the architecture, for records.

    Raises:
        UsageError: The normalisation does not fit the channels, or a standard deviation is not positive.
    """

    def __init__(
        self,
        module: nn.Module,
        *,
        input_shape: tuple[int, int, int],
        num_classes: int,
        mean: Sequence[float] = (),
        std: Sequence[float] = (),
        pixel_range: tuple[float, float] = (0.0, 1.0),
        class_names: Sequence[str] = (),
        arch: str = "",
    ) -> None:
        channels = input_shape[0]
        for field, values in (("mean", mean), ("std", std)):
            if len(values) not in (0, 1, channels):
                raise UsageError(
                    expected=f"{field} with 1 or {channels} values, one for each channel",
                    got=f"{len(values)} ({list(values)})",
                    remedy=f"Give --{field} once, or once for each channel.",
                )
        if any(value <= 0 for value in std) or pixel_range[0] >= pixel_range[1]:
            raise UsageError(
                expected="a positive std and a rising pixel range",
                got=f"std {list(std)}, pixel range {pixel_range}",
                remedy="Correct the declared preprocessing.",
            )
        if class_names and len(class_names) != num_classes:
            raise UsageError(
                expected=f"{num_classes} class names", got=f"{len(class_names)}", remedy="Name every class, or none."
            )
        self.module = module
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.mean = tuple(float(m) for m in mean)
        self.std = tuple(float(s) for s in std)
        self.pixel_range = (float(pixel_range[0]), float(pixel_range[1]))
        self.class_names = tuple(class_names) or tuple(str(k) for k in range(num_classes))
        self.arch = arch or type(module).__name__
        self._frozen = False

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        first = next(self.module.parameters(), None)
        return first.device if first is not None else torch.device("cpu")

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(p.numel() for p in self.module.parameters())

    def normalise(self, images: Images) -> Images:
        """Pixel space [0, 1] to what the module was trained on."""
        low, high = self.pixel_range
        scaled = images if (low, high) == (0.0, 1.0) else images * (high - low) + low
        if self.mean:
            scaled = scaled - images.new_tensor(self.mean).view(1, -1, 1, 1)
        if self.std:
            scaled = scaled / images.new_tensor(self.std).view(1, -1, 1, 1)
        return scaled

    def logits(self, images: Images) -> Logits:
        """The model's answer to a batch.

        Args:
            images: [n, c, h, w] in [0, 1].

        Returns:
            Logits [n, k] of the type of the images, with gradients to these where they are asked for.

        Raises:
            ModelError: The output is not one row of ``num_classes`` numbers for each image.
        """
        read = self.normalise(images)
        precision = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), read.dtype)
        output = self.module(read.to(precision))
        if not isinstance(output, Tensor) or output.shape != (images.shape[0], self.num_classes):
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(
                expected=f"logits of shape ({len(images)}, {self.num_classes})",
                got=f"{shape}",
                remedy="Wrap the model so that its forward pass returns one row of logits for each image.",
            )
        return output.to(images.dtype)

    def features(self, images: Images, layer: str) -> Tensor:
        """What a layer puts out for a batch.

        Args:
            images: [n, c, h, w] in [0, 1].
            layer: Name as in ``module.named_modules()``.

        Returns:
            The layer's output, [n, ...].

        Raises:
            UsageError: There is no such layer.
        """
        layers = dict(self.module.named_modules())
        if layer not in layers:
            raise UsageError(
                expected=f"a layer out of {', '.join(name for name in layers if name)}",
                got=repr(layer),
                remedy="Name one of these layers.",
            )
        caught: list[Tensor] = []
        handle = layers[layer].register_forward_hook(lambda _module, _inputs, output: caught.append(output))
        try:
            self.logits(images)
        finally:
            handle.remove()
        if not caught:
            raise ModelError(
                expected=f"the forward pass to run through {layer!r}",
                got="no call of it",
                remedy="Choose another layer.",
            )
        return caught[-1]

    @contextmanager
    def frozen(self) -> Iterator["Classifier"]:
        """Eval mode and no weight gradients inside; afterwards, also after an error, all is bitwise as before.

        Restored are the training mode of every submodule, ``requires_grad``, gradients, buffers and weights that a
        forward pass may have moved, and every hook that was added inside is gone. Inside of itself it does nothing.
        """
        if self._frozen:
            yield self
            return
        before = Snapshot(self.module)
        self.module.eval()
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
        self._frozen = True
        try:
            yield self
        finally:
            self._frozen = False
            before.restore()

    def digest(self) -> str:
        """sha256 over names, types, shapes and values of weights and buffers, and over the preprocessing."""
        sha = hashlib.sha256(repr((self.input_shape, self.mean, self.std, self.pixel_range)).encode())
        for piece in state_bytes(self.module):
            sha.update(piece)
        return sha.hexdigest()


def state_bytes(module: nn.Module) -> Iterator[bytes]:
    """Names, types, shapes and values of a module's weights and buffers in order of their names, for a digest."""
    for name, tensor in sorted(module.state_dict().items()):
        yield f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode()
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
