"""The tables of docs/parity.md on what carries over from network to network."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import mean

from mantrap.records import TransferRecord

PUBLISHED = {
    "FC10(1e-4)": ".062",
    "FC10(1e-2)": ".1",
    "FC10(1)": ".14",
    "FC100-100-10": ".058",
    "FC200-200-10": ".065",
    "AE400-10": ".086",
}
"""Mean distortion, Szegedy et al., ICLR 2014, table 1, at second hand."""


def table(results: Mapping[str, TransferRecord | None]) -> str:
    """Markdown tables, one an experiment, over its seeds."""
    parts = []
    for title, names in groupby(results, key=lambda name: name.rpartition("-s")[0]):
        parts.append(_matrix(title.removeprefix("szegedy-"), [results[name] for name in names]))
    return "\n\n".join(parts)


def _matrix(title: str, cells: Sequence[TransferRecord | None]) -> str:
    done = [cell for cell in cells if cell is not None]
    if not done:
        return f"| {title} |\n|---|\n| not finished |"
    some = "" if len(done) == len(cells) else f" ({len(done)} of {len(cells)} seeds)"
    names = done[0].names
    rows = [
        f"| {title}{some} | clean error, % | distortion | published | {' | '.join(names)} |",
        f"|{'---|' * (4 + len(names))}",
    ]
    for place, name in enumerate(names):
        error = 100 * mean(1 - cell.accuracies[place].value for cell in done)
        distortion = mean(cell.rows[place].distortion for cell in done)
        wrong = [_shown(done, place, column) for column in range(len(names))]
        rows.append(f"| {name} | {error:.1f} | {distortion:.3f} | {PUBLISHED.get(name, '-')} | {' | '.join(wrong)} |")
    return "\n".join(rows)


def _shown(done: Sequence[TransferRecord], row: int, column: int) -> str:
    found = [cell.rows[row].shown[column] for cell in done]
    wrong, noise = (100 * mean(getattr(one, what).value for one in found) for what in ("wrong", "noise"))
    cosines = [one.cosine for one in found if one.cosine is not None]
    return f"{wrong:.1f} ({noise:.1f}; {mean(cosines):.2f})" if cosines else f"{wrong:.1f} ({noise:.1f})"
