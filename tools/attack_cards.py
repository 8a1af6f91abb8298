"""Write the method cards: a page for every attack under docs/attacks, with a picture of its trigger on synthetic signs.

    python tools/attack_cards.py            all of them, minutes
    python tools/attack_cards.py badnets    some of them

The text of a page is the attack's own docstring; what ``benchmarks/parity.py`` has measured it puts there itself. The
pictures come from attacks that are really carried out, on small networks: whatever has to be learned is learned here.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from mantrap.core import Classifier, ImageSet, Rng
from mantrap.core.attack import DataAttack
from mantrap.core.describe import summary
from mantrap.core.truth import GroundTruth
from mantrap.data import load
from mantrap.measure import trigger_of
from mantrap.models import Preprocessing
from mantrap.poison import ATTACKS
from mantrap.training import Recipe, fit
from mantrap.workflow.train import new_classifier

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "attacks"
SIGNS = "signs(classes=6, size=48, train=1200, test=60)"
SHOWN = range(5)
ZOOM, GAP, MARGIN = 2, 6, 132
RECIPE = "recipe(epochs=4, batch_size=32)"


def classifier(images: ImageSet) -> Classifier:
    """A small network that has learned the signs a little: where attacks on models begin."""
    fresh = new_classifier("mnist_cnn", images, declared=Preprocessing(), rng=Rng(0))
    return fit(fresh, images, recipe=Recipe(epochs=4, batch_size=32), rng=Rng(0)).model


def carried_out(name: str, images: ImageSet, model: Classifier) -> tuple[GroundTruth, Mapping[str, Tensor], ImageSet]:
    """What an attack with its default settings planted, and its training images where it poisons any."""
    attack, rng = ATTACKS.create(name), Rng(0).child("card")
    if isinstance(attack, DataAttack):
        poisoned = attack.apply(images, model=model, rng=rng)
        return poisoned.truth, poisoned.tensors, poisoned.data
    planted = attack.implant(model, images, recipe=RECIPE, rng=rng)
    return planted.truth, planted.tensors, images


def rows(name: str, images: ImageSet, test: ImageSet, model: Classifier) -> dict[str, Tensor]:
    """Rows of pictures, each [n, c, h, w] in [0, 1], by what they show."""
    truth, tensors, poisoned = carried_out(name, images, model)
    before = test.images(SHOWN)
    shown = {"clean": before}
    for number, backdoor in enumerate(truth.backdoors[:2]):
        after = trigger_of(truth, number, tensors)(before, rng=Rng(1))
        which = f" {number + 1}" if len(truth.backdoors) > 1 else ""
        shown[f"triggered{which}"] = after
        change = after - before
        strongest = float(change.abs().max())
        if strongest > 0:
            scale = max(1.0, 0.5 / strongest)
            shown[f"change{which}, x{scale:.0f}"] = 0.5 + change * scale
        if backdoor.poisoned:
            training = poisoned.images(backdoor.poisoned[: len(SHOWN)])
            shown[f"in training{which}"] = training
    return shown


def sheet(shown: Mapping[str, Tensor]) -> Image.Image:
    """The rows below each other, with what they show on the left."""
    _, _, height, width = next(iter(shown.values())).shape
    tall, wide = height * ZOOM + GAP, width * ZOOM + GAP
    page = Image.new("RGB", (MARGIN + len(SHOWN) * wide, len(shown) * tall + GAP), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(15)
    for row, (title, images) in enumerate(shown.items()):
        top = GAP + row * tall
        draw.text((8, top + height * ZOOM / 2), title, "black", font, anchor="lm")
        for column, image in enumerate(images):
            values = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
            picture = Image.fromarray(np.ascontiguousarray(values))
            picture = picture.resize((width * ZOOM, height * ZOOM), Image.Resampling.NEAREST)
            page.paste(picture, (MARGIN + column * wide, top))
    return page.quantize(128)


MEASURED = "<!-- measured: begin -->"
UNMEASURED = f"{MEASURED}\n\nNot yet.\n\n<!-- measured: end -->\n"


def page(name: str, titles: list[str], before: str) -> str:
    """The card of one attack; of the one before, what has been measured stays."""
    kind = ATTACKS.kind(name)
    _, mark, measured = before.partition(MEASURED)
    return (
        f"# {name}\n\n![Rows of five synthetic signs: {', '.join(titles)}.]({name}.png)\n\n"
        f"::: {kind.__module__}.{kind.__qualname__}\n    options:\n      show_root_heading: false\n\n"
        f"## Measured\n\nHow, and beside other attacks: [Parity](../parity.md#attacks).\n\n"
        f"{mark + measured if mark else UNMEASURED}"
    )


INDEX = """\
# Attacks

Every attack that mantrap carries out, by the name that `--attack` takes. The cards say whose it is, what its settings
are and where ours departs from the paper; the pictures show five synthetic signs. What the attacks do to models is
measured in [Parity](../parity.md).

| attack | what it does |
|---|---|
"""


def index() -> str:
    """The list of all attacks."""
    return INDEX + "".join(f"| [`{kind.name}`]({kind.name}.md) | {summary(kind)} |\n" for kind in ATTACKS)


def main() -> int:
    """Write the pages and pictures that were asked for, and the list."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", help="attacks; all where none is named")
    names = parser.parse_args().names or list(ATTACKS.names)
    torch.set_num_threads(1)
    images, test = load(SIGNS, split="train"), load(SIGNS, split="test")
    model = classifier(images)
    FOLDER.mkdir(exist_ok=True)
    for name in names:
        shown = rows(name, images, test, model)
        sheet(shown).save(FOLDER / f"{name}.png", optimize=True)
        card = FOLDER / f"{name}.md"
        before = card.read_text(encoding="utf-8") if card.exists() else ""
        card.write_text(page(name, list(shown), before), encoding="utf-8")
        print(f"{name}: {', '.join(shown)}")
    (FOLDER / "index.md").write_text(index(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
