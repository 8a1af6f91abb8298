"""Audits are judged by numbers that do not change."""

import pytest

from tests import nulls


@pytest.fixture(scope="package", autouse=True)
def steady_nulls():
    """However models without a backdoor scatter by the package's own table."""
    with nulls.steady():
        yield
