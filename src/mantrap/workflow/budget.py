"""How long an audit may take: what is finished by then counts, and the rest is said to be missing."""

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mantrap.core import OutOfTime, Progress, Stage
from mantrap.errors import UsageError

Clock = Callable[[], float]

_FORM = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?")
_MINUTE, _HOUR = 60, 3600


def seconds_of(text: str) -> float:
    """Seconds of a text such as 30s, 5m or 1h30m.

    Raises:
        UsageError: The text is of another form, or says no time at all.

    Example:
        >>> seconds_of("30s"), seconds_of("1h30m")
        (30.0, 5400.0)
    """
    found = _FORM.fullmatch(text.strip())
    hours, minutes, seconds = (float(part or 0) for part in found.groups()) if found else (0.0, 0.0, 0.0)
    total = hours * _HOUR + minutes * _MINUTE + seconds
    if total <= 0:
        raise UsageError(
            expected="a time such as 30s, 5m or 1h30m", got=repr(text), remedy="Say how long the audit may take."
        )
    return total


def spoken(seconds: float) -> str:
    """A length of time in words, rounded up to what somebody plans with.

    Example:
        >>> spoken(0.4), spoken(100), spoken(9000)
        ('1 s', '2 min', '2 h 30 min')
    """
    if seconds <= _MINUTE:
        return f"{max(1, math.ceil(seconds))} s"
    minutes = -int(-seconds // _MINUTE)
    hours, minutes = divmod(minutes, _MINUTE)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class Budget:
    """Time that is shared out among pieces of work: each gets an equal share of what those before it have left.

    Args:
        seconds: How long all of them may take; ``None`` for as long as they need.
        pieces: How many there are.
        clock: Says what time it is, in seconds.
    """

    def __init__(self, seconds: float | None, pieces: int, *, clock: Clock = time.monotonic) -> None:
        self._clock, self._pieces = clock, pieces
        self._end = None if seconds is None else clock() + seconds

    def next(self, progress: Progress) -> "Deadline":
        """The observer of the next piece, which stops it when its share is over."""
        now, pieces = self._clock(), max(1, self._pieces)
        self._pieces -= 1
        until = None if self._end is None else now + max(0.0, self._end - now) / pieces
        return Deadline(progress, until, clock=self._clock)

    def part(self, progress: Progress, share: float) -> "Deadline":
        """The observer of something that is done only if it fits into this share of what is left.

        It stops the work as soon as that is seen not to suffice.
        """
        now = self._clock()
        until = None if self._end is None else now + max(0.0, self._end - now) * share
        return Deadline(progress, until, clock=self._clock, whole=True)


class Deadline:
    """An observer that asks to stop when a time has come, and tells another one what it sees.

    Args:
        progress: Who else waits.
        until: When to stop, by the clock; ``None`` for never.
        clock: Says what time it is, in seconds.
        whole: Whether half the work is worth nothing, so that it stops as soon as all of it will take too long.
    """

    def __init__(
        self, progress: Progress, until: float | None, *, clock: Clock = time.monotonic, whole: bool = False
    ) -> None:
        self._progress, self._until, self._clock, self._whole = progress, until, clock, whole
        self._begun = clock()
        self.estimate: float | None = None
        """How long the work would have taken in seconds, where it was stopped."""

    @contextmanager
    def stage(self, name: str, total: float) -> Iterator[Stage]:
        """Begin a stage, which is stopped when it says something after the time has come, but not at its end."""
        with self._progress.stage(name, total) as stage:
            yield _Watched(stage, total, self._stopped)

    def _stopped(self, share: float) -> bool:
        now = self._clock()
        if self._until is None:
            return False
        estimate = (now - self._begun) / share if share > 0 else None
        hopeless = self._whole and share >= _TELLS and estimate is not None and self._begun + estimate > self._until
        if now < self._until and not hopeless:
            return False
        self.estimate = estimate
        return True


class _Watched:
    """A stage that is stopped when its time is over."""

    def __init__(self, stage: Stage, total: float, stopped: Callable[[float], bool]) -> None:
        self._stage, self._total, self._stopped = stage, total, stopped
        self._done = 0.0

    def advance(self, amount: float = 1, note: str = "") -> None:
        """Say how far the work is."""
        self._done += amount
        self._stage.advance(amount, note)
        share = self._done / self._total if self._total else 1.0
        if share < _DONE and self._stopped(share):
            raise OutOfTime


_DONE = 1 - 1e-9
"""Share of a stage from which it is at its end, but for rounding."""
_TELLS = 0.05
"""Share of a stage from which it tells how long the whole takes."""
