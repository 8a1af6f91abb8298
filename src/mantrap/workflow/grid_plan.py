"""Read a grid from its file, and refuse it as a whole before anything runs."""

import difflib
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mantrap.core import Detector, Spec, build, spec_of
from mantrap.data import NAMED
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS
from mantrap.errors import MissingDataError, SpecError, UsageError
from mantrap.guard import GUARDS
from mantrap.models import ARCHITECTURES
from mantrap.poison import ATTACKS
from mantrap.records import GridPlan
from mantrap.repair import REPAIRS
from mantrap.screen import SCREENS
from mantrap.training import Recipe
from mantrap.workflow.zoo_plan import RETRAINING

AUDIT = "audit"
"""What stands for all the usual detectors together, where a detector is named."""


@dataclass(frozen=True)
class _Key:
    """A key of the file: what it must hold, in words, how that is read, and what it is where it is left out."""

    says: str
    read: Callable[[str, Any], Any]
    otherwise: Any = None
    needed: bool = False


def read_grid(path: Path) -> GridPlan:
    """The plan in a TOML file, with every spec in full.

    Raises:
        MissingDataError: There is no file.
        SpecError: A spec that nothing is made of.
        UsageError: It is no TOML, or says something that no grid knows, or nothing to try.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingDataError(expected=f"a grid at {path}", got="nothing", remedy="Correct the path.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(expected=f"a grid in {path}", got=str(error), remedy="Give a file of TOML.") from error
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(expected=f"TOML in {path}", got=str(error), remedy="Correct the file.") from error
    return plan_of(tables)


def plan_of(tables: Mapping[str, Any]) -> GridPlan:
    """The plan that the tables of a file say; errors are those of :func:`read_grid`."""
    _refuse_strays(tables, (*_TOP, *_TABLES), "the grid")
    given = _values(tables, _TOP, "")
    for name, keys in _TABLES.items():
        table = tables.get(name, {})
        if not isinstance(table, dict):
            raise UsageError(expected=f"a table [{name}]", got=repr(table), remedy="Write its keys below [NAME].")
        _refuse_strays(table, keys, f"[{name}]")
        given |= {f"{name}.{key}": value for key, value in _values(table, keys, f"{name}.").items()}
    plan = GridPlan(
        **{name: given[name] for name in _TOP},
        recipe=given["training.recipe"],
        retraining=given["training.retraining"],
        training_images=given["training.images"],
        defender_images=given["defender.images"],
        triggers=given["defender.triggers"],
        fpr=given["defender.fpr"],
        test_images=given["test.images"],
    )
    if not plan.defences():
        raise UsageError(
            expected="a defence at least: detectors, guards, repairs or screens",
            got="a grid without any, which has no cells",
            remedy='Add one, such as detectors = ["audit"].',
        )
    if not plan.attacks and not any((plan.detectors, plan.guards, plan.screens)):
        raise UsageError(
            expected="an attack at least, for repairs need something to repair",
            got="none, so the grid has no cells",
            remedy='Add one, such as attacks = ["badnets"].',
        )
    return plan


def detectors_of(name: str) -> tuple[Detector, ...]:
    """Who looks where a grid names a detector: the one of this spec, or the usual ones for ``audit``."""
    return tuple(map(DETECTORS.create, DEFAULT_DETECTORS if name == AUDIT else (name,)))


def _refuse_strays(table: Mapping[str, Any], known: Sequence[str] | Mapping[str, object], where: str) -> None:
    for name in table:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {close[0]}? " if close else ""
            raise UsageError(
                expected=f"the keys {', '.join(known)} in {where}",
                got=repr(name),
                remedy=f"{hint}Correct it or take it out.",
            )


def _values(table: Mapping[str, Any], keys: Mapping[str, _Key], where: str) -> dict[str, Any]:
    found = {}
    for name, key in keys.items():
        if name not in table:
            if key.needed:
                raise UsageError(expected=f"{where}{name}, {key.says}", got="no such key", remedy="Add it to the grid.")
            found[name] = key.otherwise
            continue
        try:
            found[name] = key.read(f"{where}{name}", table[name])
        except TypeError as error:
            got = f"{table[name]!r:.80}"
            raise UsageError(expected=f"{key.says} for {where}{name}", got=got, remedy="Correct the value.") from error
    return found


def _listed(one: Callable[[str], str]) -> Callable[[str, Any], tuple[str, ...]]:
    """Reads a list of specs, each of which one function brings into its full spelling."""

    def read(where: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise TypeError
        return _once(where, tuple(one(item) for item in value))

    return read


def _once(where: str, found: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = next((item for item in found if found.count(item) > 1), None)
    if twice is not None:
        raise UsageError(expected=f"each of {where} once", got=f"{twice} twice", remedy="Take one of them out.")
    return found


def _word(one: Callable[[str], str]) -> Callable[[str, Any], str]:
    def read(_: str, value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError
        return one(value)

    return read


def _seeds(where: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or any(type(seed) is not int or seed < 0 for seed in value):
        raise TypeError
    return _once(where, tuple(value))


def _count(_: str, value: Any) -> int:
    if type(value) is not int or value < 1:
        raise TypeError
    return value


def _share(_: str, value: Any) -> float:
    if not isinstance(value, float) or not 0 < value < 1:
        raise TypeError
    return value


def _some(reading: Callable[[str, Any], tuple[str, ...]]) -> Callable[[str, Any], tuple[str, ...]]:
    """The same of a list that may not be empty."""

    def read(where: str, value: Any) -> tuple[str, ...]:
        found = reading(where, value)
        if not found:
            raise TypeError
        return found

    return read


def _detector(text: str) -> str:
    return AUDIT if text.strip() == AUDIT else str(spec_of(DETECTORS.create(text)))


def _images(text: str) -> str:
    """A named set in its full spelling; a path as it is."""
    try:
        spec = Spec.parse(text)
    except SpecError:
        return text
    return str(spec_of(NAMED.create(spec))) if spec.name in NAMED and spec.file is None else text


def _recipe(text: str) -> str:
    return str(spec_of(build(Recipe, Spec.parse(text))))


_SPECS = "a list of specs in quotes"
_TOP: Mapping[str, _Key] = {
    "data": _Key(f"{_SPECS}, one at least", _some(_listed(_images)), needed=True),
    "models": _Key(
        f"{_SPECS}, one at least", _some(_listed(lambda s: str(spec_of(ARCHITECTURES.create(s))))), needed=True
    ),
    "attacks": _Key(_SPECS, _listed(lambda s: str(spec_of(ATTACKS.create(s)))), needed=True),
    "detectors": _Key(_SPECS, _listed(_detector), ()),
    "guards": _Key(_SPECS, _listed(lambda s: str(spec_of(GUARDS.create(s)))), ()),
    "repairs": _Key(_SPECS, _listed(lambda s: str(spec_of(REPAIRS.create(s)))), ()),
    "screens": _Key(_SPECS, _listed(lambda s: str(spec_of(SCREENS.create(s)))), ()),
    "seeds": _Key("a list of whole numbers from 0 up, one at least", _seeds, (0,)),
}
_NUMBER = "a whole number of 1 or more"
_TABLES: Mapping[str, Mapping[str, _Key]] = {
    "training": {
        "images": _Key(_NUMBER, _count),
        "recipe": _Key("the spec of a recipe in quotes", _word(_recipe), Recipe.name),
        "retraining": _Key("the spec of a recipe in quotes", _word(_recipe), RETRAINING["trojan"]),
    },
    "defender": {
        "images": _Key(_NUMBER, _count, 500),
        "triggers": _Key("the spec of a detector in quotes", _word(_detector), "neural_cleanse"),
        "fpr": _Key("a share between 0 and 1, such as 0.05", _share, 0.05),
    },
    "test": {"images": _Key(_NUMBER, _count, 1000)},
}
