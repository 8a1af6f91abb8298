"""Measure our own tree: how far it is beyond what we aim at, which may only shrink.

A file or function beyond a wall is refused outright. What lies between aim and wall is added up, and the sums may not
rise above those in ``tools/ratchet.json``. When they fall, ``--lower`` writes the lower ones down; nothing raises them.
"""

import argparse
import ast
import graphlib
import io
import json
import sys
import tokenize
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grimp

ROOT = Path(__file__).resolve().parent.parent
RUN = 6
"""So many equal lines in a row, in two files, are a duplicate."""

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Limit:
    """Up to ``aim`` is fine, up to ``wall`` counts against the baseline, beyond it is refused."""

    aim: int
    wall: int


@dataclass(frozen=True)
class Part:
    """A part of the tree that is measured by limits of its own."""

    name: str
    places: tuple[str, ...]
    file_lines: Limit
    function_lines: Limit = Limit(60, 70)
    parameters: Limit = Limit(7, 8)
    front_doors: tuple[str, ...] = ()
    """Functions whose keywords the users' contract names, as ``FILE NAME``: their parameters are not counted."""


PARTS = (
    Part("src", ("src",), file_lines=Limit(250, 400), front_doors=("src/mantrap/workflow/api.py audit",)),
    Part("tests", ("tests", "tools", "benchmarks", "conftest.py"), file_lines=Limit(400, 600)),
)


@dataclass(frozen=True)
class Finding:
    """One place beyond an aim: ``size`` is what was measured there."""

    figure: str
    place: str
    size: int
    limit: Limit

    @property
    def excess(self) -> int:
        """How far beyond the aim."""
        return self.size - self.limit.aim

    def __str__(self) -> str:
        what = self.figure.partition(".")[2].replace("_", " ")
        return f"{self.place}: {self.size} {what} (aim {self.limit.aim}, wall {self.limit.wall})"


def sources(root: Path, part: Part) -> list[Path]:
    """The Python files of a part, in a fixed order."""
    found: list[Path] = []
    for place in part.places:
        path = root / place
        found += [path] if path.is_file() else sorted(path.rglob("*.py"))
    return found


def functions(tree: ast.Module) -> Iterator[tuple[Function, int]]:
    """Every function with its number of parameters; ``self`` and ``cls`` are none."""
    methods = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for child in node.body
        if isinstance(child, Function)
        and not any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in child.decorator_list)
    }
    for node in ast.walk(tree):
        if isinstance(node, Function):
            named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            stars = [a for a in (node.args.vararg, node.args.kwarg) if a is not None]
            yield node, len(named) + len(stars) - (node in methods)


def sizes(root: Path, part: Part) -> Iterator[Finding]:
    """Files and functions beyond their aims."""
    for path in sources(root, part):
        text, place = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        measured = [("file_lines", place, len(text.splitlines()), part.file_lines)]
        for node, parameters in functions(ast.parse(text)):
            where = f"{place}:{node.lineno} {node.name}"
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            measured.append(("function_lines", where, lines, part.function_lines))
            if f"{place} {node.name}" not in part.front_doors:
                measured.append(("parameters", where, parameters, part.parameters))
        for figure, where, size, limit in measured:
            if size > limit.aim:
                yield Finding(f"{part.name}.{figure}", where, size, limit)


def logical_lines(text: str) -> list[tuple[int, str]]:
    """Statements with their line numbers, free of layout, comments, docstrings and imports."""
    lines: list[tuple[int, str]] = []
    tokens: list[tokenize.TokenInfo] = []
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NEWLINE and tokens:
            alone = len(tokens) == 1 and tokens[0].type == tokenize.STRING
            if not alone and tokens[0].string not in ("import", "from"):
                lines.append((tokens[0].start[0], " ".join(t.string for t in tokens)))
            tokens = []
        elif token.type not in layout and token.string != ",":
            tokens.append(token)
    return lines


def duplicates(root: Path, part: Part) -> Iterator[Finding]:
    """Lines that stand, in runs of at least six, in another file as well."""
    texts = {p.relative_to(root).as_posix(): logical_lines(p.read_text(encoding="utf-8")) for p in sources(root, part)}
    runs: dict[tuple[str, ...], set[tuple[str, int]]] = defaultdict(set)
    for place, lines in texts.items():
        for start in range(len(lines) - RUN + 1):
            runs[tuple(text for _, text in lines[start : start + RUN])].add((place, start))
    covered: dict[tuple[str, str], set[int]] = defaultdict(set)
    for places in runs.values():
        for place, start in places:
            others = {name for name, _ in places} - {place}
            if others:
                covered[place, min(others)].update(range(start, start + RUN))
    for (place, other), indices in sorted(covered.items()):
        where = f"{place}:{texts[place][min(indices)][0]} as in {other}"
        yield Finding(f"{part.name}.duplicated_lines", where, len(indices), Limit(0, 30))


def cycles(root: Path) -> Iterator[Finding]:
    """Modules that import each other in a ring, also under TYPE_CHECKING; the first ring of a package."""
    sys.path.insert(0, str(root / "src"))
    for package in sorted(p.parent.name for p in (root / "src").glob("*/__init__.py")):
        imports = grimp.build_graph(package, cache_dir=None)
        below = {module: imports.find_modules_directly_imported_by(module) for module in sorted(imports.modules)}
        try:
            graphlib.TopologicalSorter(below).prepare()
        except graphlib.CycleError as error:
            ring: list[str] = error.args[1]
            yield Finding("src.import_cycles", " <- ".join(ring), len(ring) - 1, Limit(0, 0))


def measure(root: Path) -> tuple[list[Finding], dict[str, int]]:
    """Every place beyond an aim, and the sums of the excesses by figure."""
    found = [*cycles(root)]
    figures = {"src.import_cycles": 0}
    for part in PARTS:
        figures |= {f"{part.name}.{f}": 0 for f in ("file_lines", "function_lines", "parameters", "duplicated_lines")}
        found += [*sizes(root, part), *duplicates(root, part)]
    for finding in found:
        figures[finding.figure] += finding.excess
    return found, figures


def faults(found: list[Finding], figures: Mapping[str, int], baseline: Mapping[str, int]) -> list[str]:
    """What must be mended before the tree passes."""
    told = [f"Beyond the wall: {f}. Split it." for f in found if f.size > f.limit.wall]
    for figure, now in figures.items():
        before = baseline.get(figure, 0)
        if now > before:
            places = "".join(f"\n    {f}" for f in found if f.figure == figure)
            told.append(f"{figure} rose from {before} to {now} beyond the aim. Bring it down again:{places}")
    return told


def main() -> int:
    """Measure, compare, say what is wrong. Exit code 1 when something is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, default=ROOT, help="the tree to measure")
    parser.add_argument("--lower", action="store_true", help="write figures that fell into the baseline")
    options = parser.parse_args()
    path = options.root / "tools" / "ratchet.json"
    baseline: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found, figures = measure(options.root)
    told = faults(found, figures, baseline)
    for line in told:
        print(line, file=sys.stderr)
    lowered = {figure: min(now, baseline.get(figure, 0)) for figure, now in figures.items()}
    if options.lower:
        path.write_text(json.dumps(lowered, indent=2) + "\n", encoding="utf-8")
    elif any(value < baseline.get(figure, 0) for figure, value in lowered.items()):
        fell = ", ".join(f"{k} {baseline[k]} -> {v}" for k, v in lowered.items() if v < baseline.get(k, 0))
        print(f"Better than the baseline: {fell}. Write it down: python tools/ratchet.py --lower")
    if not told:
        print("ratchet: " + ", ".join(f"{figure} {now}" for figure, now in figures.items()))
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
