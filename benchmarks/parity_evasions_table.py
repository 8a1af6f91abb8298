"""What a cell on adversarial examples leaves behind, and the table of docs/parity.md made of it."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import mean

from mantrap.records import Rate, Record
from mantrap.records.base import SCHEMA_VERSION

PUBLISHED = {
    "softmax": "99.9 at 79.3",
    "three-or-seven": "99",
    "maxout": "89.4 at 97.6",
    "maxout-fgsm": "17.9 at 81.4",
    "maxout-noise-signs": "86.2",
    "maxout-noise-even": "90.4",
    "rbf": "55.4 at 1.2",
}
"""FGSM error in per cent and mean confidence of the mistakes, Goodfellow et al., ICLR 2015."""
_TITLES = (
    "network",
    "clean error, %",
    "FGSM error, %",
    "sure of mistakes, %",
    "published",
    "PGD-40 error, %",
    "FGSM after JPEG, blur, resize, %",
)


class EvasionCell(Record):
    """One network: errors on clean digits, after FGSM and PGD-40, and after FGSM examples were filtered.

    ``confidence`` is that of the mistakes under FGSM, in the mean; ``filtered`` are errors by transformation.
    """

    schema_version: str = SCHEMA_VERSION
    kind: str = "evasion_cell"
    name: str
    clean: Rate
    fgsm: Rate
    confidence: float | None
    pgd: Rate
    filtered: dict[str, Rate]
    cpu_seconds: float


def table(results: Mapping[str, EvasionCell | None]) -> str:
    """Markdown rows: one a network, over its seeds."""
    rows = [f"| {' | '.join(_TITLES)} |", f"|{'---|' * len(_TITLES)}"]
    for title, names in groupby(results, key=lambda name: name.rpartition("-s")[0]):
        rows.append(_row(title, [results[name] for name in names]))
    return "\n".join(rows)


def _row(title: str, cells: Sequence[EvasionCell | None]) -> str:
    done = [cell for cell in cells if cell is not None]
    network = title.removeprefix("evasions-")
    published = PUBLISHED.get(network, "-")
    if not done:
        return f"| {network} | not finished | | | {published} | | |"
    some = "" if len(done) == len(cells) else f" ({len(done)} of {len(cells)} seeds)"
    sure = [100 * cell.confidence for cell in done if cell.confidence is not None]
    filtered = ", ".join(f"{100 * mean(c.filtered[kind].value for c in done):.1f}" for kind in done[0].filtered)
    confidence = f"{mean(sure):.1f}" if sure else "-"
    errors = [_spread([getattr(cell, what) for cell in done]) for what in ("clean", "fgsm", "pgd")]
    return f"| {network}{some} | {errors[0]} | {errors[1]} | {confidence} | {published} | {errors[2]} | {filtered} |"


def _spread(rates: Sequence[Rate]) -> str:
    values = [100 * rate.value for rate in rates]
    return f"{mean(values):.2f} ({min(values):.2f} to {max(values):.2f})"
