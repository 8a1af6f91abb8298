"""A trait of which most labels lie at the floor says nothing: how they scatter is not known there."""

import pytest

from mantrap.records.traits import WARP
from mantrap.workflow.heights import sights_of
from tests.nulls import null_of


@pytest.mark.parametrize(("above", "told"), [(5, False), (6, True), (10, True)])
def test_a_warp_is_compared_where_most_labels_are_above_its_floor(above, told):
    values = {label: 0.02 if label < above else WARP.floor for label in range(10)}

    found = sights_of([{WARP.name: {**values, 0: 0.1}}], null_of())

    assert [sight.trait for sight in found] == ([WARP] if told else [])
