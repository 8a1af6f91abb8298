"""From a flat sign to a photograph of it: place, perspective, clutter, light, distance, blur and noise."""

import functools
import math

import numpy as np
from PIL import Image, ImageDraw

from mantrap.data.signs.catalogue import CATALOGUE
from mantrap.data.signs.drawing import draw

Generator = np.random.Generator

_FINE_UP_TO = 64
_GROUNDS = (
    ((150, 185, 225), (205, 218, 232)),
    ((70, 95, 50), (120, 140, 80)),
    ((130, 120, 110), (180, 172, 160)),
    ((60, 62, 66), (120, 122, 124)),
    ((110, 70, 50), (150, 115, 90)),
)
_POLE = (128, 132, 134)


def photograph(kind: int, size: int, generator: Generator) -> "np.ndarray":
    """One photograph of a sign.

    Args:
        kind: Class, an index into the catalogue.
        size: Height and width in pixels.
        generator: Source of everything that varies.

    Returns:
        uint8, [size, size, 3].
    """
    fine = 2 if size <= _FINE_UP_TO else 1
    side = size * fine
    corners = _corners(generator) * side
    canvas = _clutter(side, generator)
    _stand(canvas, corners, generator)
    sign = _template(kind, side).transform(
        (side, side), Image.Transform.PERSPECTIVE, _homography(corners, side), Image.Resampling.BILINEAR
    )
    faded = _faded(sign, generator)
    canvas.paste(faded, (0, 0), sign.getchannel("A"))
    _cover(canvas, corners, generator)
    light = np.asarray(canvas.reduce(fine) if fine > 1 else canvas, np.float32) / 255
    seen = _through_lens(_lit(light, generator), generator)
    return _sensed(seen, generator)


@functools.lru_cache(maxsize=128)
def _template(kind: int, side: int) -> Image.Image:
    return draw(CATALOGUE[kind].marks, side)


def _corners(generator: Generator) -> "np.ndarray":
    """Where the corners of the sign's square lie in a picture of side 1: a plane turned in front of a camera."""
    yaw, pitch, roll = generator.normal(0, (0.26, 0.16, 0.08)).clip(-0.7, 0.7)
    reach = generator.uniform(0.38, 0.48)
    middle = 0.5 + generator.normal(0, 0.03, 2)
    (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (yaw, pitch, roll))
    turned = [
        (
            x * cy * cr - y * sr,
            x * (cy * sr * cp - sy * sp) + y * cr * cp,
            x * (cy * sr * sp + sy * cp) + y * cr * sp,
        )
        for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    ]
    return np.array([(middle[0] + reach * x * 4 / (4 + z), middle[1] + reach * y * 4 / (4 + z)) for x, y, z in turned])


def _homography(corners: "np.ndarray", side: int) -> tuple[float, ...]:
    """The eight numbers of Pillow's perspective transform that bring a square template to these corners."""
    target = ((0, 0), (side, 0), (side, side), (0, side))
    rows, values = [], []
    for (x, y), (u, v) in zip(corners, target, strict=True):
        rows += [(x, y, 1, 0, 0, 0, -u * x, -u * y), (0, 0, 0, x, y, 1, -v * x, -v * y)]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows, np.float64), np.array(values, np.float64)).tolist())


def _ink(base: tuple[int, ...], spread: float, generator: Generator) -> tuple[int, int, int]:
    red, green, blue = (np.array(base) * generator.uniform(1 - spread, 1 + spread) + generator.normal(0, 10, 3)).clip(
        0, 255
    )
    return int(red), int(green), int(blue)


def _clutter(side: int, generator: Generator) -> Image.Image:
    """What is behind the sign: a gradient, walls, trunks and leaves, and a rough texture."""
    low, high = generator.permuted(np.arange(len(_GROUNDS)))[:2]
    ends = [_ink(_GROUNDS[ground][generator.integers(2)], 0.35, generator) for ground in (low, high)]
    canvas = Image.new("RGB", (1, 2))
    canvas.putdata(ends)
    canvas = canvas.resize((side, side), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(canvas)
    for _ in range(int(generator.integers(2, 7))):
        ink = _ink(_GROUNDS[generator.integers(len(_GROUNDS))][generator.integers(2)], 0.5, generator)
        x, y, w, h = generator.uniform((-0.3, -0.3, 0.1, 0.1), (1.0, 1.0, 0.7, 0.7)) * side
        shape = generator.integers(4)
        if shape == 0:
            pen.rectangle((x, y, x + w, y + h), fill=ink)
        elif shape == 1:
            pen.ellipse((x, y, x + w, y + h), fill=ink)
        elif shape == 2:
            pen.polygon([(x, y), (x + w, y + h * 0.3), (x + w * 0.4, y + h)], fill=ink)
        else:
            pen.line(
                (x, -1, x + w - 0.3 * side, side), fill=ink, width=max(1, int(side * generator.uniform(0.01, 0.09)))
            )
    rough = np.zeros((side, side), np.float32)
    for cells in (4, 13):
        coarse = generator.standard_normal((cells, cells), np.float32)
        rough += np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))
    shaken = np.asarray(canvas, np.float32) + (rough * generator.uniform(4, 18))[..., None]
    return Image.fromarray(shaken.clip(0, 255).astype(np.uint8))


def _stand(canvas: Image.Image, corners: "np.ndarray", generator: Generator) -> None:
    """A pole below the sign, and sometimes another sign's edge above or below it."""
    side = canvas.width
    x, y = corners.mean(0)
    pen = ImageDraw.Draw(canvas)
    width = side * generator.uniform(0.04, 0.09)
    if generator.random() < 0.8:
        pen.rectangle((x - width / 2, y, x + width / 2, side), fill=_ink(_POLE, 0.3, generator))
    if generator.random() < 0.25:
        ink = _ink((200, 200, 196) if generator.random() < 0.6 else (170, 40, 44), 0.3, generator)
        top = corners[2:, 1].mean() + side * 0.01 if generator.random() < 0.7 else corners[:2, 1].mean() - side * 0.6
        pen.rectangle((x - side * 0.36, top, x + side * 0.36, top + side * 0.58), fill=ink)


def _faded(sign: Image.Image, generator: Generator) -> Image.Image:
    """Weather on the paint: paler, dirtier, off in hue."""
    paint = np.asarray(sign.convert("RGB"), np.float32)
    grey = paint.mean(axis=2, keepdims=True)
    pale = generator.beta(1.4, 3.5) * 0.55
    dirt = Image.fromarray(generator.normal(0, 1, (5, 5)).astype(np.float32))
    stain = np.asarray(dirt.resize(sign.size, Image.Resampling.BICUBIC))[..., None] * generator.uniform(0, 0.12)
    tint = generator.normal(1, 0.06, 3).astype(np.float32)
    weathered = (paint * (1 - pale) + (0.5 * grey + 70) * pale) * tint * (1 - np.abs(stain))
    return Image.fromarray(weathered.clip(0, 255).astype(np.uint8))


def _cover(canvas: Image.Image, corners: "np.ndarray", generator: Generator) -> None:
    """Leaves, twigs or another pole in front of part of some signs."""
    if generator.random() > 0.2:
        return
    side = canvas.width
    pen = ImageDraw.Draw(canvas)
    ink = _ink(_GROUNDS[generator.choice((1, 3, 4))][0], 0.5, generator)
    edge = corners[generator.integers(4)] * 0.75 + corners.mean(0) * 0.25
    if generator.random() < 0.35:
        x, width = generator.uniform(0.15, 0.85) * side, side * generator.uniform(0.03, 0.1)
        lean = generator.normal(0, 0.1) * side
        pen.polygon([(x, 0), (x + width, 0), (x + width + lean, side), (x + lean, side)], fill=ink)
        return
    for _ in range(int(generator.integers(4, 12))):
        x, y = edge + generator.normal(0, 0.13, 2) * side
        w, h = generator.uniform(0.03, 0.13, 2) * side
        pen.ellipse((x - w, y - h, x + w, y + h), fill=_ink(ink, 0.25, generator))


def _lit(light: "np.ndarray", generator: Generator) -> "np.ndarray":
    """The day: exposure, haze, colour of the light, and a shadow with a soft edge."""
    size = light.shape[0]
    exposure = float(np.exp(generator.normal(-0.15, 0.42)).clip(0.3, 1.5))
    haze = generator.beta(1, 4) * 0.5
    veil = generator.uniform(0.35, 0.85)
    warmth = generator.normal(0, 0.07)
    cast = np.array([1 + warmth, 1 + generator.normal(0, 0.025), 1 - warmth], np.float32)
    seen = (light * (1 - haze) + veil * haze) * cast * exposure
    if generator.random() < 0.45:
        angle, offset = generator.uniform(0, 2 * math.pi), generator.normal(0, 0.25)
        soft = generator.uniform(4, 40)
        line = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
        distance = line[None, :] * np.float32(math.cos(angle)) + line[:, None] * np.float32(math.sin(angle)) - offset
        dark = (distance * soft + 0.5).clip(0, 1) * generator.uniform(0.25, 0.7)
        seen = seen * (1 - dark)[..., None]
    return np.asarray(seen, np.float32)


def _through_lens(light: "np.ndarray", generator: Generator) -> "np.ndarray":
    """Distance (fewer pixels than the picture has) and motion along a line."""
    size = light.shape[0]
    image = Image.fromarray((light.clip(0, 1) * 255).astype(np.uint8))
    far = generator.beta(1.3, 1.7)
    pixels = max(4, round(size * (1 - 0.4 * far)))
    small = image.resize((pixels, pixels), Image.Resampling.BILINEAR)
    image = small.resize((size, size), Image.Resampling.BICUBIC)
    blurred = np.asarray(np.asarray(image, np.float32) / 255, np.float32)
    if generator.random() < 0.35:
        angle, length = generator.uniform(0, math.pi), generator.uniform(0.02, 0.075) * size
        steps = [np.float32(t) * length for t in (-0.5, -0.17, 0.17, 0.5)]
        moved = [
            np.asarray(
                image.transform(
                    image.size,
                    Image.Transform.AFFINE,
                    (1, 0, step * math.cos(angle), 0, 1, step * math.sin(angle)),
                    Image.Resampling.BILINEAR,
                ),
                np.float32,
            )
            for step in steps
        ]
        blurred = np.asarray(np.mean(moved, axis=0, dtype=np.float32) / 255, np.float32)
    return blurred


def _sensed(light: "np.ndarray", generator: Generator) -> "np.ndarray":
    """The sensor: noise that grows in the dark with the gain, and eight bits."""
    noise = generator.standard_normal(light.shape, np.float32)
    strength = generator.uniform(0.004, 0.022)
    noisy = light + noise * strength * (0.5 + np.sqrt(light))
    bits: np.ndarray = (noisy.clip(0, 1) * 255 + 0.5).astype(np.uint8)
    return bits
