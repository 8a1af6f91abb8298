"""Repeat the published figures, of attacks and of detection, and write them into docs/parity.md.

One command, resumable at any point. Models and unfinished audits are kept under ``runs``, finished cells in
``benchmarks/results``, one file each, which lie in the tree; ``--again`` measures those anew as well.

    python benchmarks/parity.py                  what is not finished, then the tables
    python benchmarks/parity.py --again          everything
    python benchmarks/parity.py --only 'mnist*'  some cells (a shell pattern)
    python benchmarks/parity.py --table          only write the tables from what is there

No cell is left out of the tables because of its outcome; one that is not finished is shown as such.
"""

import argparse
import fnmatch
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import parity_attacks
import parity_attacks_table
import parity_detection
import parity_detection_table
import parity_evasions
import parity_evasions_table
import parity_guards
import parity_guards_table
import parity_repairs
import parity_repairs_table
import parity_szegedy
import parity_szegedy_table
import parity_transfer
import parity_transfer_table
import torch
from parity_places import ROOT, put

from mantrap.errors import MissingDataError
from mantrap.records import Record, TransferRecord
from mantrap.records.files import write_atomically

PAGE = ROOT / "docs" / "parity.md"
CARDS = ROOT / "docs" / "attacks"


Result = TypeVar("Result", bound=Record)


@dataclass(frozen=True)
class Suite(Generic[Result]):
    """Cells of one kind: how to measure each, and how to show all of them."""

    name: str
    kind: type[Result]
    cells: Mapping[str, Callable[[], Result]]
    rows: Callable[[Mapping[str, Result | None]], str]

    @property
    def folder(self) -> Path:
        """Where finished cells lie."""
        return ROOT / "benchmarks" / "results" / self.name

    def results(self) -> dict[str, Result | None]:
        """What the cells came to; ``None`` for those that are not finished."""
        paths = {name: self.folder / f"{name}.json" for name in self.cells}
        return {n: self.kind.from_json(p.read_text()) if p.exists() else None for n, p in paths.items()}

    def table(self) -> str:
        """The table of all cells."""
        return self.rows(self.results())


ATTACKS = Suite(
    "attacks",
    parity_attacks_table.AttackCell,
    {cell.name: partial(parity_attacks.run, cell) for cell in parity_attacks.cells()},
    partial(parity_attacks_table.table, aims=parity_attacks.aims()),
)
SUITES: tuple[
    Suite[parity_detection_table.CellResult]
    | Suite[parity_attacks_table.AttackCell]
    | Suite[parity_transfer_table.TransferCell]
    | Suite[parity_repairs_table.RepairCell]
    | Suite[parity_guards_table.GuardCell]
    | Suite[parity_evasions_table.EvasionCell]
    | Suite[TransferRecord],
    ...,
] = (
    Suite(
        "parity",
        parity_detection_table.CellResult,
        {cell.name: partial(parity_detection.run, cell) for cell in parity_detection.cells()},
        parity_detection_table.table,
    ),
    ATTACKS,
    Suite(
        "transfer",
        parity_transfer_table.TransferCell,
        {cell.name: partial(parity_transfer.run, cell) for cell in parity_transfer.cells()},
        parity_transfer_table.table,
    ),
    Suite(
        "repairs",
        parity_repairs_table.RepairCell,
        {cell.name: partial(parity_repairs.run, cell) for cell in parity_repairs.cells()},
        parity_repairs_table.table,
    ),
    Suite(
        "guards",
        parity_guards_table.GuardCell,
        {cell.name: partial(parity_guards.run, cell) for cell in parity_guards.cells()},
        parity_guards_table.table,
    ),
    Suite(
        "evasions",
        parity_evasions_table.EvasionCell,
        {cell.name: partial(parity_evasions.run, cell) for cell in parity_evasions.cells()},
        parity_evasions_table.table,
    ),
    Suite(
        "szegedy",
        TransferRecord,
        {cell.name: partial(parity_szegedy.run, cell) for cell in parity_szegedy.cells()},
        parity_szegedy_table.table,
    ),
)


def write_tables() -> None:
    """Put the table of every suite into the page on parity, and the rows of each attack into its card."""
    for suite in SUITES:
        put(PAGE, suite.name, suite.table())
    results, aims = ATTACKS.results(), parity_attacks.aims()
    for attack, rows in parity_attacks_table.cards(results, aims=aims).items():
        put(CARDS / f"{attack}.md", "measured", rows)
    chosen = {name: cell for name, cell in results.items() if name.rpartition("-s")[0] in parity_attacks.SPOILING}
    beside = parity_attacks_table.table(chosen, aims=aims, columns=parity_attacks_table.SHORT)
    put(CARDS / "index.md", "spoiling", beside)


def main() -> int:
    """Run cells, then write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="shell pattern of cell names")
    parser.add_argument("--table", action="store_true", help="only write docs/parity.md")
    parser.add_argument("--again", action="store_true", help="also measure cells that are finished")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    failed = 0
    for suite, name in [] if options.table else [(s, n) for s in SUITES for n in s.cells]:
        path = suite.folder / f"{name}.json"
        if not fnmatch.fnmatch(name, options.only) or (path.exists() and not options.again):
            continue
        try:
            write_atomically(path, suite.cells[name]().to_json().encode())
        except MissingDataError as error:
            sys.stderr.write(f"{name}: skipped, {error}\n")
            failed = 1
    write_tables()
    return failed


if __name__ == "__main__":
    raise SystemExit(main())
