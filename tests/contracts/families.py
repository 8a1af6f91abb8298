"""Fixtures over the members of a family, with their ``quick`` specs."""

from collections.abc import Callable
from typing import Any

import pytest

from mantrap.core import Registry


def those(registry: Registry[Any], fits: Callable[[type[Any]], bool] = lambda _: True) -> Any:
    """A fixture that gives every algorithm of a family that fits, one after the other."""
    kinds = [kind for kind in registry if fits(kind)]

    @pytest.fixture(params=kinds, ids=lambda kind: kind.name)
    def one(request: Any) -> Any:
        return registry.create(request.param.quick)

    return one


def by_triggers(registry: Registry[Any]) -> tuple[Any, Any, Any]:
    """Three fixtures: all algorithms of a family, those that need a recovered trigger, and those that need none."""
    return (
        those(registry),
        those(registry, lambda kind: kind.needs_triggers),
        those(registry, lambda kind: not kind.needs_triggers),
    )
