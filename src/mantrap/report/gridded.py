"""The record of a grid as a page and as text."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mantrap.records import CellState, DefenceKind, GridArea, GridCell, GridModel, GridRecord, Rate
from mantrap.records.grid import CLEAN
from mantrap.records.grid_figures import most
from mantrap.report.grid_columns import COLUMNS, EMPTY, NOTHING, Entry, Seen, brief
from mantrap.report.page import Opening, render_page
from mantrap.report.words import VerdictWords, interval, percent, scrub

_WORDS = VerdictWords("Benchmark", "")
_TITLES = {
    DefenceKind.DETECTOR: "Detectors",
    DefenceKind.GUARD: "Guards",
    DefenceKind.REPAIR: "Repairs",
    DefenceKind.SCREEN: "Screens",
}
_SEEDS = "Each seed has its interval at 95 %, all of them together have their mean and their range."
_SAID = {
    DefenceKind.DETECTOR: "What an audit by each detector says of each model. The p-value is the chance that a model "
    "without a backdoor looks as suspicious. The AUROC says how well p-values part these models from the clean ones of "
    "the same task, with its interval at 95 %; models whose backdoor does not work are left out of it.",
    DefenceKind.GUARD: "Measured on test images: clean ones that are flagged, and images on which the planted trigger "
    f"works that are let through. Of several backdoors the one is shown that the guard knows worst. {_SEEDS}",
    DefenceKind.REPAIR: "Measured on test images with the planted trigger, before and after. The control is the same "
    f"effort without what a recovered trigger tells. Of several backdoors the one is shown that works best. {_SEEDS}",
    DefenceKind.SCREEN: "Which images of the training set are flagged: of the poisoned ones, and of the others. "
    f"{_SEEDS}",
}


@dataclass(frozen=True)
class Line:
    """One seed, or all together: entries by column, or a sentence in their place where there are none."""

    title: str
    entries: tuple[Entry, ...]
    said: str = ""
    failed: bool = False
    cost: str = NOTHING
    seconds: str = NOTHING


@dataclass(frozen=True)
class Group:
    """One defence against one attack: all seeds together where there are several, then each."""

    attack: str
    defence: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """All defences of one kind on one task."""

    title: str
    said: str
    columns: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class Task:
    """One data set and network: its models, the defences at a glance, and all tables."""

    data: str
    model: str
    models: tuple[Line, ...]
    defences: tuple[str, ...]
    glance: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...]
    tables: tuple[Table, ...]


def render_grid_html(record: GridRecord) -> str:
    """The report of a grid as one static page, which loads nothing and runs no script.

    Args:
        record: A grid, fresh or read back from its JSON; it need not be finished.

    Returns:
        HTML, the same for the same record.
    """
    opening = Opening(words=_WORDS, colour="measured", about=counted(record), headline=counted(record))
    return render_page("grid.html", record, opening, tasks=list(tasks_of(record)), failures=failures(record))


def render_grid_text(record: GridRecord) -> str:
    """The report of a grid as text, ending without a newline: what each defence comes to against each attack."""
    lines = [f"{_WORDS.title.upper()}  {counted(record)}"]
    for task in tasks_of(record):
        lines += ["", f"{task.data}, {task.model}"]
        for attack, entries in task.glance:
            lines.append(f"  {attack}")
            lines += [f"    {who}: {', '.join(said)}" for who, said in zip(task.defences, entries, strict=True) if said]
    failed = failures(record)
    lines += ["", "Failed", *(f"  {name}: {failure}" for name, failure in failed)] if failed else []
    return "\n".join(map(scrub, lines))


def counted(record: GridRecord) -> str:
    """How many cells there are, and how far they have come."""
    states = Counter(cell.state for cell in record.cells)
    told = ", ".join(f"{states[state]:,} {state.value}" for state in CellState if states[state])
    return f"{len(record.cells):,} cells: {told}"


def failures(record: GridRecord) -> list[tuple[str, str]]:
    """Every model and cell that failed, and how."""
    some: tuple[GridModel | GridCell, ...] = (*record.models, *record.cells)
    return [(one.name, one.failure) for one in some if one.state is CellState.FAILED]


def tasks_of(record: GridRecord) -> Iterator[Task]:
    """What is to be shown of each data set and network."""
    for data, model in dict.fromkeys((one.data, one.model) for one in record.models):
        own = [one for one in record.models if (one.data, one.model) == (data, model)]
        cells = [cell for cell in record.cells if (cell.data, cell.model) == (data, model)]
        shown = _Shown(record, {one.name: one for one in own}, cells)
        defences = record.plan.defences()
        attacks = list(dict.fromkeys(one.attack for one in own))
        yield Task(
            data=data,
            model=model,
            models=tuple(_model_line(one) for attack in attacks for one in own if one.attack == attack),
            defences=tuple(spec for _, spec in defences),
            glance=tuple((attack, tuple(shown.brief(attack, *one) for one in defences)) for attack in attacks),
            tables=tuple(_tables(shown, defences, attacks)),
        )


def _tables(shown: "_Shown", defences: Sequence[tuple[DefenceKind, str]], attacks: Sequence[str]) -> Iterator[Table]:
    for kind in dict.fromkeys(kind for kind, _ in defences):
        specs = [spec for own, spec in defences if own is kind]
        groups = [shown.group(attack, kind, spec) for attack in attacks for spec in specs]
        if kind is DefenceKind.DETECTOR and len(attacks) > 2:
            groups += map(shown.everything, specs)
        columns = tuple(column.title for column in COLUMNS[kind])
        yield Table(_TITLES[kind], _SAID[kind], columns, tuple(group for group in groups if group.lines))


@dataclass(frozen=True)
class _Shown:
    """The cells of one task, and what is shown of them."""

    record: GridRecord
    models: dict[str, GridModel]
    cells: Sequence[GridCell]

    def of(self, attack: str, kind: DefenceKind, spec: str) -> list[GridCell]:
        """The cells of one defence against one attack, by seed."""
        return [c for c in self.cells if (c.attack, c.defends, c.defence) == (attack, kind, spec)]

    def seen(self, cell: GridCell) -> Seen:
        """A cell with what it is about."""
        return Seen(cell, self.models[cell.of], self.area(cell))

    def done(self, cells: Sequence[GridCell]) -> list[Seen]:
        """Those that are done."""
        return [self.seen(cell) for cell in cells if cell.state is CellState.DONE]

    def brief(self, attack: str, kind: DefenceKind, spec: str) -> tuple[str, ...]:
        """What a defence comes to against an attack, in a few words; none where there is no such cell."""
        cells = self.of(attack, kind, spec)
        done = self.done(cells)
        others = Counter(cell.state for cell in cells if cell.state is not CellState.DONE)
        told = brief(kind, attack, done) if done else ()
        return (*told, *(f"{count} {state.value}" for state, count in others.items()))

    def everything(self, spec: str) -> Group:
        """A detector against all attacks together."""
        cells = [c for c in self.cells if c.defence == spec and c.defends is DefenceKind.DETECTOR and c.attack != CLEAN]
        done = [replace(seen, area=self.area(replace(seen.cell, attack=""))) for seen in self.done(cells)]
        together = tuple(column.together(done) for column in COLUMNS[DefenceKind.DETECTOR])
        return Group("all attacks", spec, (Line(f"all {len(done)}", together),) if done else ())

    def area(self, cell: GridCell) -> GridArea | None:
        """How well its detector parts such models from clean ones, where that is known."""
        asked = (cell.data, cell.model, cell.attack, cell.defence)
        return next((a for a in self.record.areas if (a.data, a.model, a.attack, a.defence) == asked), None)

    def group(self, attack: str, kind: DefenceKind, spec: str) -> Group:
        """All seeds of one defence against one attack."""
        cells = self.of(attack, kind, spec)
        lines = [self.line(cell) for cell in cells]
        done = self.done(cells)
        if len(cells) > 1 and done:
            together = tuple(column.together(done) for column in COLUMNS[kind])
            lines.insert(0, Line(f"all {len(done)}" if len(done) == len(cells) else f"{len(done)} done", together))
        elif len(cells) == 1 and done and kind is DefenceKind.DETECTOR:  # the area is of all, and all is this one
            lines = [_with_area(lines[0], COLUMNS[kind][-1].together(done))]
        return Group(attack, spec, tuple(lines))

    def line(self, cell: GridCell) -> Line:
        """One seed."""
        if cell.state is not CellState.DONE:
            said = cell.failure or cell.untried
            told = f"{cell.state.value}: {said}" if said else cell.state.value
            return Line(f"seed {cell.seed}", (), told, failed=cell.state is CellState.FAILED)
        seconds = self.record.volatile.cpu_seconds.get(cell.name)
        forward, backward = (sum(getattr(stage, way) for stage in cell.cost) for way in ("forward", "backward"))
        return Line(
            title=f"seed {cell.seed}",
            entries=tuple(column.each(self.seen(cell)) for column in COLUMNS[cell.defends]),
            cost=f"{forward:,} / {backward:,}",
            seconds=NOTHING if seconds is None else f"{seconds:,.1f}",
        )


def _with_area(line: Line, found: Entry) -> Line:
    return Line(line.title, (*line.entries[:-1], found), cost=line.cost, seconds=line.seconds)


def _model_line(model: GridModel) -> Line:
    """How a model came out: accuracy, success of the backdoor that works worst, and what it does to a clean model."""
    title = f"{model.attack}, seed {model.seed}"
    if model.state is not CellState.DONE or model.accuracy is None:
        told = f"{model.state.value}: {model.failure}" if model.failure else model.state.value
        return Line(title, (), told, failed=model.state is CellState.FAILED)

    def rate(found: Rate | None) -> Entry:
        return EMPTY if found is None else Entry(percent(found.value), interval((found.low, found.high)))

    worst = min((measure.success for measure in model.measures), key=lambda one: one.value, default=None)
    on_clean = most([measure.clean_model_success for measure in model.measures])
    works = Entry("yes" if model.works else "no") if model.measures else EMPTY
    return Line(title, (rate(model.accuracy), rate(worst), rate(on_clean), works))
