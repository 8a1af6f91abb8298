"""Every detector with its ``quick`` spec, together and by whether it searches."""

import pytest

from mantrap.core import Detector
from mantrap.detect import DETECTORS
from tests.scans import SEARCHES_NOTHING


@pytest.fixture(params=DETECTORS, ids=lambda kind: kind.name)
def detector(request) -> Detector:
    return DETECTORS.create(request.param.quick)


@pytest.fixture(params=[kind for kind in DETECTORS if kind.name not in SEARCHES_NOTHING], ids=lambda kind: kind.name)
def searcher(request) -> Detector:
    return DETECTORS.create(request.param.quick)


@pytest.fixture(params=[kind for kind in DETECTORS if kind.name in SEARCHES_NOTHING], ids=lambda kind: kind.name)
def reader(request) -> Detector:
    return DETECTORS.create(request.param.quick)
