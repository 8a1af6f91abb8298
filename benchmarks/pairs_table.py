"""What the scan of pairs of classes says of models, for the tables of ``pairs.py`` and ``detection.py``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from detection_table import CLEAN, SOME, TITLES, Decided, area, share, table

from mantrap.ops.intervals import wilson
from mantrap.records import FamilyRecord, PairRecord, Rate, Record, Verdict
from mantrap.workflow.verdict import CHANCE_BELOW, PAIR_SHARE, PAIR_WORKS_FROM
from mantrap.workflow.zoo_plan import Split

SPLITS: Final[tuple[Split, ...]] = ("tune", "test")


class Scanned(Record):
    """What the scan of pairs says of one model; ``sources`` are those of its backdoor, none for a clean one."""

    model: str
    split: str
    network: str
    classes: int
    sources: tuple[int, ...]
    target: int | None
    agreement: Rate | None
    pair: PairRecord | None
    cpu_seconds: float

    @property
    def works(self) -> bool:
        """Whether the patch of the first pair works."""
        return self.pair is not None and self.pair.success is not None and self.pair.success.low >= PAIR_WORKS_FROM

    @property
    def chance(self) -> float:
        """Of a model without a backdoor to look as suspicious."""
        return 1.0 if self.pair is None else min(1.0, self.pair.standings[0].chance / PAIR_SHARE)

    @property
    def strong(self) -> bool:
        """Whether this accuses."""
        return self.works and self.noticed

    @property
    def noticed(self) -> bool:
        """Whether this bars the all-clear."""
        return self.chance < CHANCE_BELOW

    @property
    def right(self) -> bool:
        """Whether the first pair is one of the backdoor."""
        return self.pair is not None and self.pair.label in self.sources and self.pair.to == self.target


def rows(found: Sequence[Scanned]) -> str:
    """A row for each split and kind of model that can be compared."""
    lines = []
    for split in SPLITS:
        here = [s for s in found if s.split == split]
        for few in (False, True):
            some = [s for s in here if (s.classes < 10) is few and s.pair is not None]
            infected, clean = ([s for s in some if bool(s.sources) is wanted] for wanted in (True, False))
            if not infected or not clean:
                continue
            strong, noticed = (
                [[s for s in group if s.strong] for group in (infected, clean)],
                [[s for s in group if s.noticed] for group in (infected, clean)],
            )
            lines.append(
                (
                    f"{split}, {'4 to 9' if few else '10 and more'} classes",
                    len(infected),
                    share(len(strong[0]), len(infected)),
                    share(len(noticed[0]), len(infected)),
                    sum(s.right for s in strong[0]),
                    len(clean),
                    share(len(strong[1]), len(clean)),
                    share(len(noticed[1]), len(clean)),
                    area([s.chance for s in infected], [s.chance for s in clean]),
                    f"{sum(s.cpu_seconds for s in some) / len(some):.0f}",
                )
            )
    titles = (
        "models",
        "source-specific",
        "SUSPICIOUS",
        "or noticed",
        "pair right",
        "clean",
        "SUSPICIOUS",
        "or noticed",
        "area under the curve",
        "CPU s",
    )
    return "\n".join(table(titles, lines))


def scanned(folder: Path) -> list[Scanned]:
    """All models that are measured."""
    return [Scanned.from_json(p.read_text(encoding="utf-8")) for p in sorted(folder.glob("*.json"))]


def known_with_pairs(found: Sequence[Decided], pairs: Sequence[Scanned]) -> tuple[FamilyRecord, ...]:
    """What audits that scan pairs as well say of clean models, and of those that react to some classes only.

    Args:
        found: What audits without that say of a split.
        pairs: What the scan of pairs says of it.
    """
    scans: Mapping[str, Scanned] = {one.model: one for one in pairs}
    verdicts = {d.judged.model: d.verdict for d in found if d.judged.family == CLEAN and d.judged.model in scans}
    groups = {CLEAN: [scans[name] for name in verdicts], SOME: [one for one in pairs if one.sources]}
    families = []
    for family, group in groups.items():
        others = [verdicts.get(one.model, Verdict.NO_EVIDENCE) for one in group]
        strong = [one.strong or other is Verdict.SUSPICIOUS for one, other in zip(group, others, strict=True)]
        noticed = [one.noticed or other is not Verdict.NO_EVIDENCE for one, other in zip(group, others, strict=True)]
        rates = [wilson(sum(some), len(some)) for some in (strong, noticed)]
        families.append(FamilyRecord(family=family, title=TITLES[family], found=rates[0], noticed=rates[1]))
    return tuple(families)
