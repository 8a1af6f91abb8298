"""Image files as pixels, with what hostile or broken files do turned into one typed error.

Read are PNG, JPEG, WEBP, BMP, PPM (PGM, PBM) and the first frame of a GIF, of at most 25 megapixels by their header.
The EXIF orientation is applied; 16-bit greys are scaled to 8 bits; palettes and CMYK become RGB. Alpha is dropped, as
the usual loaders do, so that the model sees here what it saw in training, unless it is asked for.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mantrap.data.files import stand_in
from mantrap.errors import DataError, MissingDataError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "PPM", "GIF")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".pbm", ".pnm", ".gif"})
MAX_PIXELS = 25_000_000

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_GREY = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N"})
_DEEP = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset({5, 6, 7, 8})
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    AttributeError,
    ArithmeticError,
    LookupError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True)
class Header:
    """What a file says about its image: size after the EXIF orientation, and 1 channel for grey or 3 for colour."""

    height: int
    width: int
    channels: int


def read_header(data: Path | bytes, where: str) -> Header:
    """Size and channels of an image without decoding it.

    Raises:
        DataError: The file is no image of a known format, is broken, or has more than 25 megapixels.
        MissingDataError: There is no such file.
    """
    with _opened(data, where) as image:
        width, height = image.size
        if _orientation(image) in _SIDEWAYS:
            width, height = height, width
        return Header(height, width, 1 if image.mode in _GREY else 3)


def read_pixels(
    data: Path | bytes, where: str, *, channels: int, box: tuple[int, int, int, int] | None = None
) -> "np.ndarray":
    """The pixels of an image.

    Args:
        data: The file or its content.
        where: What to call it in errors.
        channels: 1 or 3; grey is repeated, colour becomes grey by ITU-R 601. 4 is colour and alpha, opaque where the
            file has none.
        box: Left, top, right and bottom edge of the part to keep, in pixels; the right and bottom ones lie outside.

    Returns:
        uint8, [h, w] for one channel, else [h, w, channels].

    Raises:
        DataError: As for :func:`read_header`, or the box does not lie inside the image.
        MissingDataError: There is no such file.
    """
    with _opened(data, where) as image:
        turn = _TURNS.get(_orientation(image))
        flat = _eight_bits(image).convert(_MODES[channels])
        if turn is not None:
            flat = flat.transpose(turn)
        if box is not None:
            left, top, right, bottom = box
            if not (0 <= left < right <= flat.width and 0 <= top < bottom <= flat.height):
                raise DataError(
                    expected=f"a box inside the {flat.height}x{flat.width} image {where}",
                    got=f"left {left}, top {top}, right {right}, bottom {bottom}",
                    remedy="Correct the box in the table that goes with the images.",
                )
            flat = flat.crop(box)
        return np.asarray(flat)


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode not in _DEEP:
        # By way of RGBA, for Pillow warns of a palette's transparency that is lost.
        return image.convert("RGBA") if image.mode == "P" else image
    deep = np.asarray(image).astype(np.int64).clip(0, 65535)
    return Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8))


def _orientation(image: Image.Image) -> int:
    # Pillow decodes a PNG to look for EXIF data after the pixels; what comes before them is enough.
    if image.format == "PNG" and "exif" not in image.info:
        return 1
    value = image.getexif().get(_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextmanager
def _opened(data: Path | bytes, where: str) -> Iterator[Image.Image]:
    try:
        with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS) as image:
            _refuse(image, where)
            yield image
    except (DataError, MissingDataError):
        raise
    except FileNotFoundError as error:
        raise MissingDataError(expected=f"the image {where}", got="no such file", remedy="Put it there.") from error
    except _BROKEN as error:
        what = stand_in(data) or f"a file that does not decode ({_first_line(error)})"
        raise DataError(
            expected=f"a whole image in PNG, JPEG, WEBP, BMP, PPM or GIF in {where}",
            got=what,
            remedy="Replace the file, or leave it out.",
        ) from error


def _refuse(image: Image.Image, where: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            expected=f"at most {MAX_PIXELS // 1_000_000} megapixels in {where}",
            got=f"{height}x{width} = {width * height / 1e6:.0f} megapixels by its header",
            remedy="Scale the image down, or leave it out.",
        )
    if image.mode == "F":
        raise DataError(
            expected=f"8 or 16 bits a channel in {where}", got="floating point", remedy="Save the image as a PNG."
        )


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0]:.120}" if text else type(error).__name__
