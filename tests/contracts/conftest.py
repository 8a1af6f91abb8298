"""Every detector with its ``quick`` spec, together, by whether it searches, and by whether it measures labels."""

from collections.abc import Callable
from typing import Any

import pytest

from mantrap.core import Detector
from mantrap.detect import DETECTORS
from tests.scans import MEASURES_NO_LABEL, MEASURES_PAIRS, SEARCHES_NOTHING


def those(fits: Callable[[str], bool]) -> dict[str, Any]:
    """The parameters of a fixture: the detectors whose names fit."""
    return {"params": [kind for kind in DETECTORS if fits(kind.name)], "ids": lambda kind: kind.name}


@pytest.fixture(**those(lambda _: True))
def detector(request) -> Detector:
    return DETECTORS.create(request.param.quick)


@pytest.fixture(**those(lambda name: name not in SEARCHES_NOTHING))
def searcher(request) -> Detector:
    return DETECTORS.create(request.param.quick)


@pytest.fixture(**those(lambda name: name in SEARCHES_NOTHING))
def reader(request) -> Detector:
    return DETECTORS.create(request.param.quick)


@pytest.fixture(**those(lambda name: name not in MEASURES_NO_LABEL | MEASURES_PAIRS))
def labeller(request) -> Detector:
    return DETECTORS.create(request.param.quick)


@pytest.fixture(**those(lambda name: name not in SEARCHES_NOTHING | MEASURES_NO_LABEL | MEASURES_PAIRS))
def label_searcher(request) -> Detector:
    return DETECTORS.create(request.param.quick)


@pytest.fixture(**those(lambda name: name in MEASURES_NO_LABEL))
def mover(request) -> Detector:
    return DETECTORS.create(request.param.quick)


@pytest.fixture(**those(lambda name: name in MEASURES_PAIRS))
def pairer(request) -> Detector:
    return DETECTORS.create(request.param.quick)
