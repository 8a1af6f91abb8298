"""What the stages of an audit cost, in images and in seconds, so that a kill loses neither."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from torch import Tensor

from mantrap.core import Cost, Memo, SharedMemo
from mantrap.records import StageCost
from mantrap.workflow.stopwatch import Stopwatch


@dataclass
class Ledger:
    """What the stages cost, in images."""

    stages: dict[str, Cost] = field(default_factory=dict)

    def add(self, stage: str, cost: Cost) -> None:
        """Add what a stage cost to what it cost so far."""
        self.stages[stage] = self.stages.get(stage, Cost()) + cost

    def records(self) -> tuple[StageCost, ...]:
        """An entry for each stage, in the order in which they began."""
        return tuple(StageCost(stage=k, forward=c.forward, backward=c.backward) for k, c in self.stages.items())


@dataclass(frozen=True)
class TimedMemo:
    """A memo that writes the seconds down with every piece of work, so that a kill loses neither."""

    memo: Memo
    watch: Stopwatch

    def load(self, key: str) -> dict[str, Tensor] | None:
        """What was kept."""
        return self.memo.load(key)

    def save(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep it, and the seconds so far."""
        self.memo.save(key, tensors)
        self.watch.lap()


@dataclass(frozen=True)
class SharedTimedMemo(TimedMemo):
    """The same of a memo that other processes fill as well."""

    memo: SharedMemo

    @property
    def helping(self) -> bool:
        """Whether this process only helps."""
        return self.memo.helping

    def claim(self, key: str) -> AbstractContextManager[bool]:
        """Whether the piece of this key is ours to make."""
        return self.memo.claim(key)
