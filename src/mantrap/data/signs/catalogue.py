"""Forty-three signs after the European manner: what each class looks like before anybody photographs it."""

from dataclasses import dataclass

from mantrap.data.signs.drawing import Area, Mark, Marks, Point, Stroke, arc, arrow, disc, regular, writing


@dataclass(frozen=True)
class Sign:
    """One class: its name and its marks, from back to front."""

    name: str
    marks: Marks


def _prohibition(*glyph: Mark) -> Marks:
    return disc((0, 0), 1.0, "white"), disc((0, 0), 0.97, "red"), disc((0, 0), 0.72, "white"), *glyph


def _end(*glyph: Mark) -> Marks:
    slashes = tuple(Stroke(((-0.62 + d, 0.5 + d), (0.5 + d, -0.62 + d)), 0.06) for d in (-0.06, 0.06, 0.18))
    return disc((0, 0), 1.0, "grey"), disc((0, 0), 0.94, "white"), *glyph, *slashes


def _command(*glyph: Mark) -> Marks:
    return disc((0, 0), 1.0, "white"), disc((0, 0), 0.94, "blue"), *glyph


def _triangle(radius: float, ink: str, turn: float, drop: float) -> Area:
    plain = regular(3, radius, turn, ink)
    return Area(tuple((x, y + drop) for x, y in plain.points), ink, 0.12)


def _warning(*glyph: Mark) -> Marks:
    return _triangle(0.98, "red", -90, 0.22), _triangle(0.6, "white", -90, 0.235), *glyph


def _panel(*glyph: Mark) -> Marks:
    outer: tuple[Point, ...] = ((-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84))
    inner = tuple((x * 0.93, y * 0.93) for x, y in outer)
    return Area(outer, "white", 0.1), Area(inner, "blue", 0.08), *glyph


def _diamond(*glyph: Mark) -> Marks:
    return (
        regular(4, 0.94, 0, "white", 0.06),
        regular(4, 0.9, 0, "black", 0.04),
        regular(4, 0.86, 0, "white", 0.04),
        *glyph,
    )


def _limit(number: str) -> Sign:
    height = 0.86 if len(number) == 2 else 0.66
    return Sign(f"limit {number}", _prohibition(*writing(number, height=height, weight=0.27)))


def _car(middle: Point, ink: str) -> Marks:
    x, y = middle
    body = Area(
        (
            (x - 0.24, y + 0.16),
            (x - 0.24, y - 0.04),
            (x - 0.12, y - 0.22),
            (x + 0.12, y - 0.22),
            (x + 0.24, y - 0.04),
            (x + 0.24, y + 0.16),
        ),
        ink,
        0.03,
    )
    return body, disc((x - 0.15, y + 0.2), 0.09, ink), disc((x + 0.15, y + 0.2), 0.09, ink)


def _lorry() -> Marks:
    return (
        Area(((-0.5, -0.3), (0.16, -0.3), (0.16, 0.2), (-0.5, 0.2)), "black"),
        Area(((0.2, -0.14), (0.38, -0.14), (0.5, 0.02), (0.5, 0.2), (0.2, 0.2)), "black"),
        disc((-0.3, 0.24), 0.12),
        disc((0.32, 0.24), 0.12),
    )


def _walker(middle: Point, ink: str, height: float = 1.0) -> Marks:
    x, y = middle

    def at(*points: Point) -> tuple[Point, ...]:
        return tuple((x + px * height, y + py * height) for px, py in points)

    return (
        disc(at((0.02, -0.42))[0], 0.1 * height, ink),
        Stroke(at((0.02, -0.24), (-0.02, 0.1)), 0.16 * height, ink),
        Stroke(at((0, 0.1), (0.18, 0.3), (0.2, 0.52)), 0.09 * height, ink),
        Stroke(at((-0.03, 0.1), (-0.12, 0.32), (-0.28, 0.5)), 0.09 * height, ink),
        Stroke(at((0.02, -0.22), (0.2, -0.06), (0.28, 0.08)), 0.07 * height, ink),
        Stroke(at((0, -0.22), (-0.18, -0.06), (-0.24, 0.1)), 0.07 * height, ink),
    )


def _bicycle(drop: float, ink: str) -> Marks:
    wheels = tuple(Stroke(arc((x, drop + 0.12), (0.2, 0.2), 0, 360), 0.06, ink) for x in (-0.28, 0.28))
    frame = ((-0.28, drop + 0.12), (-0.1, drop - 0.16), (0.16, drop - 0.16), (0, drop + 0.12), (-0.28, drop + 0.12))
    steering = ((0.28, drop + 0.12), (0.16, drop - 0.16), (0.12, drop - 0.3), (0.24, drop - 0.32))
    return *wheels, Stroke(frame, 0.06, ink), Stroke(steering, 0.06, ink)


def _mirrored(marks: Marks) -> Marks:
    def flip(mark: Mark) -> Mark:
        points = tuple((-x, y) for x, y in mark.points)
        return Area(points, mark.ink, mark.rounding) if isinstance(mark, Area) else Stroke(points, mark.width, mark.ink)

    return tuple(map(flip, marks))


_BEND_RIGHT = arrow(((-0.12, 0.56), (-0.12, 0.24), (0.08, 0.02), (0.12, -0.02)), width=0.16, head=0.2, ink="black")
_TURN_RIGHT = arrow(((-0.34, 0.58), (-0.34, 0.0), (-0.2, -0.14), (0.22, -0.14)))
_RIGHT_OR_ON = (*arrow(((-0.16, 0.62), (-0.16, -0.3)), head=0.28), *arrow(((-0.16, 0.16), (0.28, 0.16)), head=0.28))
_PASS_RIGHT = arrow(((-0.4, -0.4), (0.26, 0.26)), width=0.24, head=0.36)
_RING = tuple(
    mark
    for start in (0, 120, 240)
    for mark in arrow(arc((0, 0), (0.46, 0.46), start, start + 66), width=0.16, head=0.24)
)
_SNOW = tuple(
    Stroke((a, b), 0.06)
    for a, b in (((0, -0.06), (0, 0.6)), ((-0.28, 0.1), (0.28, 0.44)), ((-0.28, 0.44), (0.28, 0.1)))
)
_HUMPS = Area(
    (
        (-0.46, 0.52),
        *arc((-0.21, 0.42), (0.19, 0.26), 180, 360),
        *arc((0.21, 0.42), (0.19, 0.26), 180, 360),
        (0.46, 0.52),
    )
)
_LIGHTS = (disc((0, -0.06), 0.13, "red"), disc((0, 0.22), 0.13, "yellow"), disc((0, 0.5), 0.13, "green"))
_WORKS = (
    *_walker((-0.08, 0.2), "black", 0.72),
    Stroke(((0.02, 0.1), (0.34, 0.42)), 0.06),
    Area(((0.16, 0.58), (0.34, 0.36), (0.5, 0.58))),
)
_S_BEND = arrow(
    ((-0.14, 0.56), (-0.14, 0.4), (0.14, 0.2), (0.14, 0.12), (-0.04, -0.0)), width=0.14, head=0.18, ink="black"
)
_STRIPES = tuple(
    Area(((x, 0.4), (x + 0.14, 0.4), (x + 0.09, 0.66), (x - 0.05, 0.66)), "white") for x in (-0.62, -0.3, 0.02, 0.34)
)

CATALOGUE: tuple[Sign, ...] = (
    Sign(
        "stop",
        (
            regular(8, 1.02, 22.5, "white"),
            regular(8, 0.96, 22.5, "red"),
            *writing("STOP", height=0.62, ink="white", weight=0.24),
        ),
    ),
    Sign("yield", (_triangle(0.98, "red", 90, -0.22), _triangle(0.52, "white", 90, -0.24))),
    _limit("30"),
    _limit("80"),
    Sign("priority", _diamond(regular(4, 0.62, 0, "yellow", 0.04))),
    Sign("turn right", _command(*_TURN_RIGHT)),
    Sign(
        "danger",
        _warning(Area(((-0.1, -0.2), (0.1, -0.2), (0.05, 0.3), (-0.05, 0.3)), "black", 0.03), disc((0, 0.5), 0.1)),
    ),
    Sign("straight on", _command(*arrow(((0, 0.66), (0, -0.3))))),
    Sign("parking", _panel(*writing("P", height=1.2, ink="white", weight=0.26))),
    Sign(
        "no entry",
        (
            disc((0, 0), 1.0, "white"),
            disc((0, 0), 0.96, "red"),
            Area(((-0.68, -0.17), (0.68, -0.17), (0.68, 0.17), (-0.68, 0.17)), "white"),
        ),
    ),
    _limit("50"),
    Sign("turn left", _command(*_mirrored(_TURN_RIGHT))),
    _limit("60"),
    Sign("bend right", _warning(*_BEND_RIGHT)),
    Sign("bend left", _warning(*_mirrored(_BEND_RIGHT))),
    Sign(
        "crosswalk", _panel(Area(((0, -0.72), (0.74, 0.7), (-0.74, 0.7)), "white"), *_walker((0, 0.22), "black", 0.8))
    ),
    Sign("no overtaking", _prohibition(*_car((-0.3, 0.02), "red"), *_car((0.3, 0.02), "black"))),
    Sign("no lorries", _prohibition(*_lorry())),
    Sign("no vehicles", _prohibition()),
    Sign("pedestrians", _warning(*_walker((0, 0.2), "black", 0.76))),
    _limit("20"),
    _limit("70"),
    _limit("100"),
    _limit("120"),
    Sign("end of limits", _end()),
    Sign("end of 80", _end(*writing("80", height=0.86, ink="grey", weight=0.24))),
    Sign("end of priority", _diamond(regular(4, 0.62, 0, "yellow", 0.04), Stroke(((-0.5, 0.5), (0.5, -0.5)), 0.2))),
    Sign(
        "no parking",
        (
            disc((0, 0), 1.0, "red"),
            disc((0, 0), 0.8, "blue"),
            Stroke(((-0.58, -0.58), (0.58, 0.58)), 0.2, "red"),
            Stroke(((0.58, -0.58), (-0.58, 0.58)), 0.2, "red"),
        ),
    ),
    Sign("double bend", _warning(*_S_BEND)),
    Sign("humps", _warning(_HUMPS)),
    Sign(
        "narrowing",
        _warning(
            Stroke(((-0.2, 0.56), (-0.2, 0.3), (-0.08, 0.14), (-0.08, -0.14)), 0.1),
            Stroke(((0.2, 0.56), (0.2, 0.3), (0.08, 0.14), (0.08, -0.14)), 0.1),
        ),
    ),
    Sign("cyclists", _warning(*_bicycle(0.3, "black"))),
    Sign("snow", _warning(*_SNOW)),
    Sign("lights", _warning(*_LIGHTS)),
    Sign(
        "crossroads", _warning(Stroke(((-0.28, 0.54), (0.2, -0.02)), 0.14), Stroke(((0.28, 0.54), (-0.2, -0.02)), 0.14))
    ),
    Sign("works", _warning(*_WORKS)),
    Sign("straight or right", _command(*_RIGHT_OR_ON)),
    Sign("straight or left", _command(*_mirrored(_RIGHT_OR_ON))),
    Sign("pass right", _command(*_PASS_RIGHT)),
    Sign("pass left", _command(*_mirrored(_PASS_RIGHT))),
    Sign("roundabout", _command(*_RING)),
    Sign("one way", _panel(*arrow(((-0.66, 0), (0.24, 0)), width=0.3, head=0.46))),
    Sign(
        "dead end",
        _panel(Stroke(((0, 0.72), (0, -0.3)), 0.26, "white"), Stroke(((-0.46, -0.42), (0.46, -0.42)), 0.28, "red")),
    ),
)
"""The classes in the order that a set of fewer takes them."""
