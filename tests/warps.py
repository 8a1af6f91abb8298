"""Searches for warps in a model that answers to them, and who watches them being made."""

import math

from mantrap.core import Rng
from mantrap.detect import UniversalWarp, universal_warp
from tests.bending import Bending

WIDE = Bending()
FAR_OFF = Bending(needs=((0.4, 0.0), (-9.0, 0.0), (0.0, 9.0), (0.0, -9.0)))
LABELS = (1, 2, 3, 4)
PLAIN = UniversalWarp(precision="float32")
SHORT = UniversalWarp(steps=8, images_per_step=4, labels_at_once=2, precision="float32")


def scan(settings=SHORT, *, bending=WIDE, labels=LABELS, **keywords):
    given = {"heldout": bending.images(10, "heldout"), "rng": Rng(2)} | keywords
    clean = given.pop("clean", None) or bending.images(30, "scan")
    return settings.detect(bending.model(), clean, labels=labels, **given)


def near(found):
    return found.traits["warp"]


class Watched:
    """The searches that are made: of which labels, with how many images in a pass, and which find no memory."""

    def __init__(self, monkeypatch, most=math.inf, error=None):
        self.made, real = [], universal_warp.WarpSearch

        def search(model, images, arms, warping, rng, *, at_once):
            self.made.append(([arm.target for arm in arms], at_once))
            one = real(model, images, arms, warping, rng, at_once=at_once)
            if at_once > most:
                one.advance = lambda: self.fail(error)
            return one

        monkeypatch.setattr(universal_warp, "WarpSearch", search)

    def fail(self, error):
        raise error
