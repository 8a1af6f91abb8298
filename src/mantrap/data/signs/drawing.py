"""Signs as marks in a plane: areas and strokes with coordinates from -1 to 1, x to the right and y down."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

Point = tuple[float, float]

INKS = {
    "black": (26, 26, 30),
    "white": (238, 238, 232),
    "red": (188, 22, 34),
    "blue": (16, 74, 158),
    "yellow": (246, 190, 24),
    "green": (20, 128, 74),
    "grey": (120, 122, 126),
}

REACH = 1.06
"""Half the side of the square that a sign is drawn in."""

_OVERSAMPLING = 4


@dataclass(frozen=True)
class Area:
    """A filled polygon, its corners rounded outwards by ``rounding``."""

    points: tuple[Point, ...]
    ink: str = "black"
    rounding: float = 0.0


@dataclass(frozen=True)
class Stroke:
    """A line through points, with round joints and ends."""

    points: tuple[Point, ...]
    width: float = 0.14
    ink: str = "black"


Mark = Area | Stroke
Marks = tuple[Mark, ...]


def arc(middle: Point, radii: Point, start: float, stop: float) -> tuple[Point, ...]:
    """Points on an ellipse from one angle to another, in degrees, clockwise from the right."""
    count = max(2, round(abs(stop - start) / 9) + 1)
    angles = (math.radians(start + (stop - start) * i / (count - 1)) for i in range(count))
    return tuple((middle[0] + radii[0] * math.cos(a), middle[1] + radii[1] * math.sin(a)) for a in angles)


def disc(middle: Point, radius: float, ink: str = "black") -> Area:
    """A filled circle."""
    return Area(arc(middle, (radius, radius), 0, 351), ink)


def regular(corners: int, radius: float, turn: float, ink: str, rounding: float = 0.0) -> Area:
    """A regular polygon with its first corner at an angle in degrees, clockwise from the right."""
    angles = (math.radians(turn + 360 * i / corners) for i in range(corners))
    return Area(tuple((radius * math.cos(a), radius * math.sin(a)) for a in angles), ink, rounding)


def arrow(points: Sequence[Point], *, width: float = 0.2, head: float = 0.34, ink: str = "white") -> Marks:
    """A stroke with a triangular head beyond its last point."""
    (x0, y0), (x1, y1) = points[-2], points[-1]
    length = math.hypot(x1 - x0, y1 - y0)
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    tip = (x1 + dx * head, y1 + dy * head)
    left, right = (x1 - dy * head, y1 + dx * head), (x1 + dy * head, y1 - dx * head)
    return Stroke(tuple(points), width, ink), Area((tip, left, right), ink)


_LETTERS: dict[str, tuple[tuple[Point, ...], ...]] = {
    "0": (arc((0, 0), (0.5, 1), 0, 360),),
    "1": (((-0.3, -0.6), (0.1, -1), (0.1, 1)),),
    "2": ((*arc((0, -0.48), (0.5, 0.52), 190, 385), (-0.5, 1), (0.52, 1)),),
    "3": ((*arc((0, -0.5), (0.46, 0.5), 200, 440), *arc((0, 0.48), (0.52, 0.52), -80, 165)),),
    "4": (((0.2, 1), (0.2, -1), (-0.55, 0.45), (0.55, 0.45)),),
    "5": (((0.45, -1), (-0.4, -1), (-0.46, -0.12), *arc((0, 0.38), (0.52, 0.62), 225, 510)),),
    "6": (arc((0, 0.42), (0.5, 0.58), 0, 360), ((0.3, -1), (-0.2, -0.42), (-0.48, 0.3))),
    "7": (((-0.5, -1), (0.5, -1), (-0.15, 1)),),
    "8": (arc((0, -0.5), (0.43, 0.5), 0, 360), arc((0, 0.5), (0.52, 0.5), 0, 360)),
    "S": ((*arc((0, -0.5), (0.48, 0.5), -30, -270), *arc((0, 0.5), (0.5, 0.5), -90, 150)),),
    "T": (((-0.5, -1), (0.5, -1)), ((0, -1), (0, 1))),
    "O": (arc((0, 0), (0.5, 1), 0, 360),),
    "P": (((-0.4, 1), (-0.4, -1), *arc((0, -0.48), (0.5, 0.52), -90, 90), (-0.4, 0.04)),),
    "H": (((-0.5, -1), (-0.5, 1)), ((0.5, -1), (0.5, 1)), ((-0.5, 0), (0.5, 0))),
}


def writing(text: str, *, height: float, ink: str = "black", middle: Point = (0, 0), weight: float = 0.2) -> Marks:
    """Digits and capitals, ``height`` tall, side by side around a middle."""
    half = height / 2 * (1 - weight / 2)
    advance = half * (1.2 + 1.6 * weight)
    start = middle[0] - advance * (len(text) - 1) / 2
    return tuple(
        Stroke(tuple((start + advance * i + x * half, middle[1] + y * half) for x, y in line), height * weight / 2, ink)
        for i, letter in enumerate(text)
        for line in _LETTERS[letter]
    )


def draw(marks: Marks, pixels: int) -> Image.Image:
    """The marks as an RGBA image with smooth edges; what no mark covers is transparent."""
    side = pixels * _OVERSAMPLING
    image = Image.new("RGBA", (side, side))
    pen = ImageDraw.Draw(image)
    scale = side / (2 * REACH)

    def place(points: Sequence[Point]) -> list[Point]:
        return [((x + REACH) * scale, (y + REACH) * scale) for x, y in points]

    def line(points: Sequence[Point], width: float, ink: tuple[int, int, int]) -> None:
        pen.line(place(points), fill=ink, width=max(1, round(width * scale)))
        radius = width * scale / 2
        for x, y in place(points):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=ink)

    for mark in marks:
        ink = INKS[mark.ink]
        if isinstance(mark, Stroke):
            line(mark.points, mark.width, ink)
            continue
        pen.polygon(place(mark.points), fill=ink)
        if mark.rounding:
            line((*mark.points, mark.points[0]), 2 * mark.rounding, ink)
    return image.convert("RGBa").reduce(_OVERSAMPLING).convert("RGBA")
