"""The type checker that the tests put on every function of mantrap: beartype, as far as it goes."""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep673Exception

# As mypy has it: where a float is wanted, an int does.
_checked = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check arguments and result at every call.

    A method that returns ``typing.Self`` is left as it is: beartype reads ``Self`` only where it decorates the class,
    and the import hook of jaxtyping decorates functions. mypy checks these.
    """
    try:
        return _checked(function)
    except BeartypeDecorHintPep673Exception:
        return function
