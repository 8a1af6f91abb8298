"""How models without a backdoor scatter: what a model in question is compared with."""

import dataclasses

from mantrap.records.base import SCHEMA_VERSION, Record


class Scatter(Record):
    """How one trait scatters over the labels of models without a backdoor, and between such models.

    ``spread`` is the standard deviation over the labels of a typical model; models differ in it, and ``freedom`` says
    how little: the larger, the more alike, as if so many labels more had been seen. ``centre`` and ``between`` are the
    mean and the standard deviation of the models' own means; ``between`` is ``None`` for a trait whose level says
    nothing. ``models`` and ``labels`` are how many it was learned from. ``alike`` is the correlation of the heights of
    labels between two models of the same network that learned the same task, each in its own way. ``kept`` is what is
    expected of a label's height for each unit of it in a copy of the model that was retrained on clean images; where
    it is above 0, the rest scatters as the other numbers say.
    """

    trait: str
    spread: float
    freedom: float
    centre: float
    between: float | None
    models: int
    labels: int
    alike: float = 0.0
    kept: float = 0.0


class ShiftScatter(Record):
    """How likely models without a backdoor find it at most that every class is another one, some classes further on.

    It holds for models of ``fewest`` to ``most`` classes. ``centre`` and ``between`` are mean and standard deviation
    over ``models``, of each of which the likeliest of ``shifts`` shifts counts, or of all that there are.
    """

    fewest: int
    most: int
    centre: float
    between: float
    models: int
    shifts: int


class Null(Record):
    """What is known of models without a backdoor.

    ``arch`` is the network it holds for, empty for any. ``together`` says how much traits of one label tend to stand
    out together: the covariance of -2 log p of the traits in the order of ``scatters``, row by row; 4 on the diagonal.
    ``learned_from`` is where it comes from, in words.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "null"
    arch: str
    scatters: tuple[Scatter, ...]
    together: tuple[tuple[float, ...], ...]
    learned_from: str

    def of(self, trait: str) -> Scatter | None:
        """The scatter of a trait, if it is known."""
        return next((s for s in self.scatters if s.trait == trait), None)

    def covariance(self, first: str, second: str) -> float:
        """How much two traits stand out together; as much as can be where nothing is known of them."""
        places = [i for name in (first, second) for i, s in enumerate(self.scatters) if s.trait == name]
        return self.together[places[0]][places[1]] if len(places) == 2 else 4.0

    def without_levels(self) -> "Null":
        """The same where only differences between the labels of a model say something."""
        return dataclasses.replace(self, scatters=tuple(dataclasses.replace(s, between=None) for s in self.scatters))


class Nulls(Record):
    """What is known of models without a backdoor, by network; the one for any network stands first.

    ``beside_copies`` is the same for models that are compared with copies of themselves, retrained on clean images.
    ``shifts`` holds for all networks.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "nulls"
    nulls: tuple[Null, ...]
    beside_copies: tuple[Null, ...] = ()
    shifts: tuple[ShiftScatter, ...] = ()

    def for_arch(self, arch: str) -> Null:
        """The null of a network, whatever its size and its number of classes, or the one for any.

        Args:
            arch: Spec of the network, as in a model's record.
        """
        return _of(self.nulls, arch)

    def beside_copy(self, arch: str) -> Null | None:
        """The same beside a copy; ``None`` where nothing is known of such."""
        return _of(self.beside_copies, arch) if self.beside_copies else None


def _of(nulls: tuple[Null, ...], arch: str) -> Null:
    return next((n for n in nulls if n.arch and n.arch == arch.partition("(")[0]), nulls[0])
