"""Options that several verbs share, and how their values are written."""

import re
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import Parameter

from mantrap.errors import MissingDataError, UsageError
from mantrap.records import GuardCard, ModelRecord

if TYPE_CHECKING:
    from mantrap.core import ImageSet
    from mantrap.models import Preprocessing


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Form:
    """Which of a set's images, and in what form."""

    split: str | None = None
    """Part of the set, such as train or test."""
    limit: int | None = None
    """Draw this many images at random, each class in proportion."""
    resize: str | None = None
    """HxW: bring every image to this height and width."""
    channels: int | None = None
    """3 repeats grey, 1 turns colour to grey."""
    only: Path | None = None
    """Of these only the images that a table names, such as the kept.csv of `mantrap screen`."""

    def load_from(self, source: str, *, split: str, seed: int) -> "ImageSet":
        """The images of a source; ``split`` where the user named none."""
        from mantrap.core import Rng  # noqa: PLC0415 - torch
        from mantrap.data import load  # noqa: PLC0415 - torch
        from mantrap.data.only import only  # noqa: PLC0415 - torch

        found = load(
            source,
            split=self.split or split,
            limit=self.limit,
            resize=None if self.resize is None else size(self.resize),
            channels=self.channels,
            rng=Rng(seed),
        )
        return found if self.only is None else only(found, self.only)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Images(Form):
    """Which images, and in what form."""

    images: str
    """A named set (see `mantrap list`), or the path of a folder, .npz, .parquet or idx file."""

    def measured_on(self, test: str | None, *, seed: int) -> "ImageSet | None":
        """Images to measure on, in the same form: those that the user named, or the test split of the same named set.

        ``None`` where the user named none and these are of no named set, or are not its training split.
        """
        from mantrap.data import NAMED  # noqa: PLC0415 - torch

        if test is None and (self.images.partition("(")[0] not in NAMED or self.split not in (None, "train")):
            return None
        measured = Images(images=test or self.images, resize=self.resize, channels=self.channels)
        return measured.load(split="test", seed=seed)

    @property
    def none(self) -> bool:
        """Whether there are no images, and the user says so."""
        return self.images == "none"

    @property
    def shape(self) -> tuple[int, int, int] | None:
        """Channels, height and width that the user asks for; ``None`` where not all of them are said."""
        if self.resize is None or self.channels is None:
            return None
        return (self.channels, *size(self.resize))

    def load(self, *, split: str, seed: int) -> "ImageSet":
        """The images; ``split`` where the user named none."""
        return self.load_from(self.images, split=split, seed=seed)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Declared:
    """How pixels become what the model was trained on, after pixels / 255."""

    mean: tuple[str, ...] = ()
    """Subtracted: one number, or one for each channel with commas between, such as 0.49,0.48,0.45."""
    std: tuple[str, ...] = ()
    """Divided by: one number, or one for each channel with commas between."""
    pixel_range: str | None = None
    """What black and white are for the model, such as 0..255."""

    def preprocessing(self) -> "Preprocessing":
        """The declaration for the models' door."""
        from mantrap.models import Preprocessing  # noqa: PLC0415 - torch

        return Preprocessing(
            mean=numbers("--mean", self.mean),
            std=numbers("--std", self.std),
            pixel_range=None if self.pixel_range is None else pixel_range(self.pixel_range),
        )

    def above(self, known: ModelRecord | GuardCard) -> "Preprocessing":
        """What the user says, and what a record knows where nothing is said."""
        from mantrap.models import Preprocessing  # noqa: PLC0415 - torch

        said = self.preprocessing()
        return Preprocessing(
            mean=known.mean if said.mean is None else said.mean,
            std=known.std if said.std is None else said.std,
            pixel_range=known.pixel_range if said.pixel_range is None else said.pixel_range,
        )


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Output:
    """Where the result goes."""

    out: Path
    """Where to write; unfinished work there goes on."""
    fresh: bool = False
    """Start over where the work of another run lies."""
    json: bool = False
    """Print the record on stdout, and nothing else."""


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Running:
    """How to run."""

    seed: int = 0
    """Of all randomness."""
    device: str = "auto"
    """auto, cpu, or a GPU."""
    threads: int | None = None
    """Threads for arithmetic; what torch chooses where not given."""
    quiet: bool = False
    """No progress on stderr."""

    def told(self) -> dict[str, object]:
        """What of it belongs into a command that gives the same result."""
        return {"seed": self.seed, "device": self.device, "threads": self.threads}

    def apply(self, *, threads: int | None = None) -> None:
        """Set the number of threads: what the user said, or else ``threads``, or else what torch chooses.

        Raises:
            UsageError: It is not positive.
        """
        chosen = self.threads if self.threads is not None else threads
        if chosen is not None:
            import torch  # noqa: PLC0415 - start-up

            if chosen < 1:
                raise UsageError(expected="--threads of at least 1", got=f"{chosen}", remedy="Use one or more.")
            torch.set_num_threads(chosen)


def size(text: str) -> tuple[int, int]:
    """``32x32`` as height and width.

    Raises:
        UsageError: It is not written so.
    """
    match = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text.strip())
    if match is None:
        raise UsageError(expected="--resize HxW, such as 32x32", got=repr(text), remedy="Give height and width.")
    return int(match[1]), int(match[2])


def numbers(flag: str, words: tuple[str, ...]) -> tuple[float, ...] | None:
    """``0.49,0.48,0.45``, or a flag given several times, as numbers; ``None`` where it was not given.

    Raises:
        UsageError: It is not written so.
    """
    try:
        return tuple(float(part) for word in words for part in word.split(",")) or None
    except ValueError as error:
        raise UsageError(
            expected=f"{flag} with numbers and commas between them, such as 0.49,0.48,0.45",
            got=" ".join(map(repr, words)),
            remedy="Give one number, or one for each channel.",
        ) from error


def pixel_range(text: str) -> tuple[float, float]:
    """``0..255`` as two numbers.

    Raises:
        UsageError: It is not written so.
    """
    low, dots, high = text.partition("..")
    try:
        return float(low), float(high if dots else "")
    except ValueError as error:
        raise UsageError(
            expected="--pixel-range LOW..HIGH, such as 0..255", got=repr(text), remedy="Give two numbers."
        ) from error


def existing(path: Path, what: str) -> Path:
    """The path, if there is something.

    Raises:
        MissingDataError: There is nothing.
    """
    if not path.exists():
        raise MissingDataError(expected=f"{what} at {path}", got="nothing", remedy="Correct the path.")
    return path


def command_line(verb: str, positional: str | tuple[str, ...], *options: object, **more: object) -> str:
    """A call of mantrap as it would be typed, with the options that were given."""
    given = [(f.name, getattr(o, f.name)) for o in options for f in fields(o)]  # type: ignore[arg-type]
    words = ["mantrap", verb, *((positional,) if isinstance(positional, str) else positional)]
    for name, value in (*given, *more.items()):
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
            continue
        for one in value if isinstance(value, tuple) else (value,):
            words += [] if one is None else [f"--{option}", str(one)]
    return shlex.join(words)
