"""What several tests of this room make: image files, and a machine without any data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mantrap.data import places


@pytest.fixture
def paint() -> Callable[..., Path]:
    """Writes an image of one colour, or of noise, and returns its path."""

    def write(path: Path, size: tuple[int, int] = (6, 5), colour: object = None, mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        bands = {"L": (), "RGB": (3,)}[mode]
        if colour is None:
            pixels = np.random.default_rng(len(str(path.name)) + sum(map(ord, path.name))).integers(
                0, 256, (*size, *bands), np.uint8
            )
        else:
            pixels = np.broadcast_to(np.array(colour, np.uint8), (*size, *bands))
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with no data set anywhere; returns the empty folder that MANTRAP_DATA names."""
    home = tmp_path / "data"
    home.mkdir()
    monkeypatch.setenv("MANTRAP_DATA", str(home))
    monkeypatch.setenv("MANTRAP_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "SYSTEM", tmp_path / "system")
    return home
