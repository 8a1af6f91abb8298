"""A model and its guard as one ONNX graph, to be run where there is no torch."""

import warnings
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mantrap.core import FittedGuard, ImageSet
from mantrap.core.extras import from_extra
from mantrap.core.shapes import Images
from mantrap.errors import FailedError, UsageError
from mantrap.records.files import write_atomically
from mantrap.workflow.kept_guards import CARD, card_of

SUFFIX = ".onnx"
OUTPUTS = ("logits", "suspicion", "flagged")
"""What the graph says of each image: the model's logits, the guard's score, and whether that is above its threshold."""
TOLERANCE = 1e-4
"""By how much what the graph says may differ, relative to numbers above 1."""
_SHOWN = 8
"""Images on which it is compared."""


def check_export(path: Path) -> None:
    """Refuse early what cannot be written.

    Raises:
        MissingExtraError: What an export needs is not installed.
        UsageError: The name does not end in ``.onnx``.
    """
    _packages()
    if path.suffix != SUFFIX:
        raise UsageError(expected=f"a file name that ends in {SUFFIX}", got=str(path), remedy="Rename the output.")


def export_guarded(path: Path, fitted: FittedGuard, images: ImageSet) -> None:
    """Write a model and its guard as one ONNX graph, once it is seen that the graph answers as they do.

    Its input is ``images``, [n, c, h, w] float32 in [0, 1] of any number, for the model's preprocessing is inside; its
    outputs are ``logits`` [n, k], ``suspicion`` [n] and ``flagged`` [n], which is true above the guard's threshold. The
    guard's card lies in the file's metadata. What the library would refuse the graph does not: logits that are no
    numbers come out as they are.

    Args:
        path: The file, ``NAME.onnx``.
        fitted: A guard, with the model that it was fitted for.
        images: Some to compare the answers on; the first few are.

    Raises:
        FailedError: The network cannot be exported, or the graph answers otherwise.
        MissingExtraError: What an export needs is not installed.
        OutputError: The place cannot be written.
        UsageError: The name does not end in ``.onnx``.
    """
    check_export(path)
    shown = images.images(range(min(_SHOWN, len(images))))
    content = _graph(fitted, shown)
    _compare(content, fitted, shown)
    write_atomically(path, content)


class _Guarded(nn.Module):
    """The model and the guard's score as one module."""

    def __init__(self, fitted: FittedGuard) -> None:
        super().__init__()
        self._guard, self._model, self._threshold = fitted.scorer, fitted.model, fitted.threshold
        self._network = fitted.model.module  # its weights are those of the graph

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        suspicion = self._guard(images).float()
        return self._model.logits(images), suspicion, suspicion > self._threshold


def _graph(fitted: FittedGuard, shown: Images) -> bytes:
    """The graph as the bytes of a file."""
    dynamic = {"images": {0: torch.export.Dim("n", min=1)}}
    try:
        # The exporter warns of its own deprecations, and writes the graph of a network that it gives up.
        with fitted.model.frozen(), torch.no_grad(), warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Guarded(fitted).eval(),
                (shown.to(fitted.model.device),),
                dynamo=True,
                verbose=False,
                input_names=["images"],
                output_names=list(OUTPUTS),
                dynamic_shapes=dynamic,
            )
        assert program is not None
        proto = program.model_proto
        entry = proto.metadata_props.add()
        entry.key, entry.value = CARD, card_of(fitted).to_json()
        content: bytes = proto.SerializeToString()
    except Exception as error:  # whatever a network of somebody else's makes of being exported
        raise FailedError(
            expected="a network that torch.onnx can export",
            got=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            remedy="Guard the model from Python instead; its guard's file is whole.",
        ) from error
    return content


def _compare(content: bytes, fitted: FittedGuard, shown: Images) -> None:
    """Refuse a graph that answers otherwise than the model and its guard.

    Raises:
        FailedError: It does.
    """
    runtime = _packages()[1]
    session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for images in (shown, shown[:1]):
        logits, suspicion, flagged = (torch.from_numpy(one) for one in session.run(None, {"images": images.numpy()}))
        with fitted.model.frozen(), torch.no_grad():
            expected = fitted.model.logits(images.to(fitted.model.device)).float().cpu()
        scores = fitted.score(images)
        sure = (scores - fitted.threshold).abs() > TOLERANCE * scores.abs().clamp(min=1)
        apart = max(_apart(logits, expected), _apart(suspicion, scores))
        if apart > TOLERANCE or not torch.equal(flagged[sure], (scores > fitted.threshold)[sure]):
            raise FailedError(
                expected=f"a graph that answers as the model and its guard do, to {TOLERANCE:g}",
                got=f"one that differs by {apart:.2g}",
                remedy="Guard the model from Python instead; its guard's file is whole.",
            )


def _apart(ones: Tensor, others: Tensor) -> float:
    """The largest difference, relative to numbers above 1; infinite where one is no number."""
    apart = ((ones - others).abs() / others.abs().clamp(min=1)).nan_to_num(torch.inf)
    return float(apart.max()) if ones.numel() else 0.0


def _packages() -> tuple[Any, ...]:
    """The modules ``onnx``, ``onnxruntime`` and ``onnxscript``.

    Raises:
        MissingExtraError: One is not installed.
    """
    return from_extra("onnx", "onnx", "onnxruntime", "onnxscript", does="which write and run ONNX graphs")
