"""The tables of audits on a zoo: what they find of each family, and how often they are wrong."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from mantrap.core import spec_of
from mantrap.detect import DEFAULT_DETECTORS, DETECTORS
from mantrap.detect.nulls import known_nulls
from mantrap.ops.intervals import wilson
from mantrap.ops.roc import area_under
from mantrap.records import CoverageRecord, FamilyRecord, Record, Verdict
from mantrap.records.traits import TRAITS
from mantrap.workflow.comparing import Compared, compare
from mantrap.workflow.heights import Beside, Halved
from mantrap.workflow.retraining import CLOSER_BELOW
from mantrap.workflow.shifting import compare_shifts
from mantrap.workflow.verdict import (
    RULE,
    Accused,
    Moved,
    accuse,
    decide,
)

CLEAN = "clean"
MAIN = ("patch", "blended", "trojan")
"""Families that are found by the dozen, and asked for most of all."""
FEWEST_REFERENCES = 2
OTHER, SOME = "other_goals", "source_specific"
TITLES: Final = {
    CLEAN: "no backdoor",
    "patch": "a small patch",
    "blended": "a pattern blended in",
    "trojan": "a Trojan trigger, retrained",
    "clean_label": "right labels, poisoned",
    "invisible": "an invisible trigger",
    "dynamic": "triggers that change",
    "warped": "a warp",
    "input_aware": "a trigger for each input",
    OTHER: "every class sent to the next",
    SOME: "some classes only",
}
"""Families for a reader, as the end of "models with"."""
IMAGES = 600
"""Test images that an audit gets; it searches with three quarters of them and measures on the rest."""
_VERDICTS = (Verdict.SUSPICIOUS, Verdict.INCONCLUSIVE, Verdict.NO_EVIDENCE)


class Judged(Record):
    """What an audit measures of one model of a zoo.

    ``targets`` is the truth, ``images`` what it has learned; ``arch`` is the network in the words of where it comes
    from, ``network`` as it was opened.
    ``traits`` are values by trait and label, ``successes`` those of triggers by label, ``barred`` whether something
    bars the all-clear, ``shifts`` how likely the model finds it that every class is one further on, and ``moved`` the
    success of the patch for the likeliest of these. ``copied`` are the traits of a copy that was retrained on clean
    images, empty where there is none, and ``unsure`` the labels of which it says nothing. ``drawn`` are by trait the
    labels that others are compared with, where most were given up early; all count in the correction then.
    """

    kind: str = "judged"
    model: str
    family: str
    arch: str
    network: str
    classes: int
    targets: tuple[int, ...]
    traits: dict[str, dict[str, float]]
    successes: dict[str, float]
    barred: bool
    cpu_seconds: dict[str, float]
    images: str = ""
    shifts: dict[str, float] = dataclasses.field(default_factory=dict)
    moved: float = 0.0
    copied: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    unsure: tuple[int, ...] = ()
    drawn: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)

    def values(self) -> list[dict[str, dict[int, float]]]:
        """The traits as detectors give them."""
        return [by_label(name, values) for name, values in self.traits.items()]

    def halved(self) -> list[Halved | None]:
        """In the same order with which labels others are compared; ``None`` where with all."""
        every = frozenset(range(self.classes))
        return [Halved(frozenset(self.drawn[name]), every) if name in self.drawn else None for name in self.traits]

    def values_of_copy(self) -> list[dict[str, dict[int, float]]] | None:
        """The same of the copy; ``None`` where there is none."""
        return [by_label(name, self.copied.get(name, {})) for name in self.traits] if self.copied else None


def by_label(trait: str, values: Mapping[str, float]) -> dict[str, dict[int, float]]:
    """One trait as a detector gives it."""
    return {trait: {int(label): value for label, value in values.items()}}


@dataclass(frozen=True)
class Decided:
    """A model and the verdict on it.

    Args:
        judged: What was measured.
        compared: How its labels stand.
        verdict: The verdict.
        accused: The label that it is about.
        moved: The likeliest shift of all classes.
    """

    judged: Judged
    compared: Compared | None
    verdict: Verdict
    accused: Accused | None = None
    moved: Moved | None = None

    @property
    def p_value(self) -> float:
        """1 where nothing could be compared."""
        by_labels = 1.0 if self.compared is None else self.compared.p_value
        return min(by_labels, 1.0 if self.moved is None else self.moved.shifted.chance)

    @property
    def first(self) -> int | None:
        """The label that stands out most, or that is accused."""
        return None if self.accused is None else self.accused.standing.label

    @property
    def named(self) -> bool:
        """Whether that is a true target."""
        return self.first in self.judged.targets


def decided(judged: Judged, references: Sequence[Judged] = (), *, copied: bool = True) -> Decided:
    """The verdict on a model, by itself, beside a copy or beside models of the same task."""
    null, copies = known_nulls().for_arch(judged.network), known_nulls().beside_copy(judged.network)
    theirs, early = [one.values() for one in references], judged.halved()
    alone = compare(judged.values(), null, halved=early)
    closer = copied and alone is not None and alone.chance_of(alone.first) < CLOSER_BELOW
    measured = judged.values_of_copy() if closer else None
    beside = None if measured is None or copies is None else Beside(measured, copies, frozenset(judged.unsure))
    compared = compare(judged.values(), null, theirs, beside, halved=early)
    if compared is None:
        return Decided(judged, None, Verdict.INCONCLUSIVE)
    accused = accuse(compared, {int(label): share for label, share in judged.successes.items()})
    likely = {int(by): share for by, share in judged.shifts.items()}
    shifted = compare_shifts(likely, judged.classes, known_nulls().shifts)
    moved = None if shifted is None else Moved(shifted, judged.moved)
    barred = ("barred",) if judged.barred else ()
    verdict = decide(compared, accused, (moved,), other_suspects=False, barred=barred)
    return Decided(judged, compared, verdict, accused, moved)


def tables(found: Sequence[Decided]) -> str:
    """All audits by family, then by network and number of labels, and what each trait is worth."""
    parts = ["What audits say of each family:", "", *_by_family(found), ""]
    parts += ["By network and number of labels, patch, blended and Trojan models together:", "", *_by_kind(found), ""]
    parts += ["Area under the curve of each trait alone, and of all together:", "", *_by_trait(found)]
    return "\n".join(parts)


def one_by_one(found: Sequence[Decided]) -> str:
    """A row for each model."""
    titles = ("model", "is", "target", "labels", "verdict", "first", "p-value", "trigger works on", "CPU s")
    rows = [
        (
            d.judged.model,
            d.judged.family,
            ", ".join(map(str, d.judged.targets)) or "-",
            d.judged.classes,
            d.verdict.value,
            "-" if d.first is None else d.first,
            f"{d.p_value:.2g}",
            f"{100 * d.judged.successes[str(d.first)]:.1f} %" if str(d.first) in d.judged.successes else "-",
            f"{sum(d.judged.cpu_seconds.values()):.1f}",
        )
        for d in sorted(found, key=lambda d: d.judged.model)
    ]
    return "\n".join(table(titles, rows))


def coverage(found: Sequence[Decided], with_pairs: tuple[FamilyRecord, ...]) -> CoverageRecord:
    """What these audits found of each kind, for the reports of audits like them."""
    families = []
    for family, title in TITLES.items():
        verdicts = [d.verdict for d in found if kind_of(d.judged) == family]
        suspicious, clear = verdicts.count(Verdict.SUSPICIOUS), verdicts.count(Verdict.NO_EVIDENCE)
        rates = (wilson(suspicious, len(verdicts)), wilson(len(verdicts) - clear, len(verdicts)))
        families.append(FamilyRecord(family=family, title=title, found=rates[0], noticed=rates[1]))
    return CoverageRecord(
        rule=RULE,
        detectors=tuple(str(spec_of(DETECTORS.create(name))) for name in DEFAULT_DETECTORS),
        of=f"{len(found)} small networks for digits, clothes and signs, with {IMAGES} images each",
        families=tuple(families),
        with_pairs=with_pairs,
    )


def kind_of(judged: Judged) -> str:
    """The family of a model; those of other goals by whether they have a target."""
    if judged.family != OTHER:
        return judged.family
    return SOME if judged.targets else OTHER


def referenced(found: Sequence[Judged], clean: Sequence[Judged]) -> str:
    """What references are worth, of models of whose task and network two clean ones or more are at hand."""
    beside = {j.model: [c for c in clean if (c.images, c.arch) == (j.images, j.arch)] for j in found}
    some = [j for j in found if len(beside[j.model]) >= FEWEST_REFERENCES]
    return _side_by_side(
        "references",
        {"none": [decided(j) for j in some], "with references": [decided(j, beside[j.model]) for j in some]},
    )


def beside_copies(found: Sequence[Judged]) -> str:
    """What copies are worth."""
    return _side_by_side(
        "copies", {"none": [decided(j, copied=False) for j in found], "with copies": [decided(j) for j in found]}
    )


def _side_by_side(what: str, ways: Mapping[str, Sequence[Decided]]) -> str:
    """The same models judged in several ways, a row for each."""
    rows = []
    for name, runs in ways.items():
        groups = _groups(runs)
        honest, main = groups[CLEAN], groups[", ".join(MAIN)]
        others = [d for d in runs if d not in honest and d not in main]
        cells = [f"{sum(d.verdict is v for d in group)}" for group in (honest, main, others) for v in _VERDICTS[:2]]
        accuracy = area([d.p_value for d in main], [d.p_value for d in honest])
        sizes = [f"{len(group)}" for group in (honest, main, others)]
        rows.append((name, sizes[0], *cells[:2], sizes[1], *cells[2:4], accuracy, sizes[2], *cells[4:]))
    titles = (what, "clean", "SUSPICIOUS", "INCONCLUSIVE", ", ".join(MAIN), "SUSPICIOUS", "INCONCLUSIVE",
              "area under the curve", "others", "SUSPICIOUS", "INCONCLUSIVE")  # fmt: skip
    return "\n".join(table(titles, rows))


def agreement(runs: Sequence[Sequence[Decided]]) -> str:
    """How often audits of the same models with other seeds come to the same verdict."""
    by_model = [{d.judged.model: d for d in run} for run in runs]
    names = sorted(set.intersection(*(set(run) for run in by_model)))
    groups = {CLEAN: [n for n in names if by_model[0][n].judged.family == CLEAN]}
    groups["backdoored"] = [n for n in names if n not in groups[CLEAN]]
    rows = []
    for group, members in groups.items():
        verdicts = [{run[n].verdict for run in by_model} for n in members]
        turned = sum({Verdict.SUSPICIOUS, Verdict.NO_EVIDENCE} <= v for v in verdicts)
        other = [n for n in members if len({run[n].first for run in by_model}) > 1]
        same = sum(len(v) == 1 for v in verdicts)
        rows.append(
            (group, len(members), len(runs), same, len(members) - same - turned, turned, len(members) - len(other))
        )
    titles = ("models", "how many", "seeds", "the same verdict", "with INCONCLUSIVE among them",
              "SUSPICIOUS and NO_EVIDENCE", "the same label first")  # fmt: skip
    return "\n".join(table(titles, rows))


def _groups(found: Sequence[Decided]) -> dict[str, list[Decided]]:
    """Clean models, every family, and the main ones together."""
    families = sorted({d.judged.family for d in found} - {CLEAN})
    groups = {name: [d for d in found if d.judged.family == name] for name in (CLEAN, *families)}
    return groups | {", ".join(MAIN): [d for d in found if d.judged.family in MAIN]}


def _by_family(found: Sequence[Decided]) -> list[str]:
    titles = ("family", "models", *(v.value for v in _VERDICTS), "SUSPICIOUS, of all", "area under the curve",
              "target first", "target named", "CPU s")  # fmt: skip
    groups = _groups(found)
    rows = []
    for name, group in groups.items():
        counts = [sum(d.verdict is v for d in group) for v in _VERDICTS]
        aimed = [d for d in group if d.judged.targets]
        accused = [d for d in aimed if d.verdict is Verdict.SUSPICIOUS]
        rows.append(
            (
                name,
                len(group),
                *counts,
                share(counts[0], len(group)),
                "" if name == CLEAN else area([d.p_value for d in group], [d.p_value for d in groups[CLEAN]]),
                f"{sum(d.named for d in aimed)} of {len(aimed)}" if aimed else "",
                f"{sum(d.named for d in accused)} of {len(accused)}" if accused else "",
                f"{sum(sum(d.judged.cpu_seconds.values()) for d in group) / max(1, len(group)):.1f}",
            )
        )
    return table(titles, rows)


def _by_kind(found: Sequence[Decided]) -> list[str]:
    archs = sorted({d.judged.arch for d in found})
    kinds = {f"`{arch}`": [d for d in found if d.judged.arch == arch] for arch in archs}
    for low, high in ((2, 3), (4, 5), (10, 10), (20, 43)):
        kinds[f"{low} to {high} labels"] = [d for d in found if low <= d.judged.classes <= high]
    rows = []
    for name, some in kinds.items():
        clean = [d for d in some if d.judged.family == CLEAN]
        main = [d for d in some if d.judged.family in MAIN]
        alarms, hits = (sum(d.verdict is Verdict.SUSPICIOUS for d in group) for group in (clean, main))
        curve = area([d.p_value for d in main], [d.p_value for d in clean]) if main and clean else ""
        rows.append((name, len(clean), share(alarms, len(clean)), len(main), share(hits, len(main)), curve))
    return table(("", "clean", "false alarms", "backdoored", "found", "area under the curve"), rows)


def _by_trait(found: Sequence[Decided]) -> list[str]:
    groups = _groups(found)
    rows = []
    for name, group in groups.items():
        if name != CLEAN and group:
            scores = [area(_alone(group, trait), _alone(groups[CLEAN], trait)) for trait in TRAITS]
            rows.append((name, *scores, area([d.p_value for d in group], [d.p_value for d in groups[CLEAN]])))
    return table(("family", *TRAITS, "all"), rows)


def _alone(group: Sequence[Decided], trait: str) -> list[float]:
    """For each model the smallest chance of any label by one trait, for as many labels as there are."""
    smallest = []
    for d in group:
        chances = [
            p.chance for s in (d.compared.standings if d.compared else ()) for p in s.parts if p.trait.name == trait
        ]
        smallest.append(-math.expm1(len(chances) * math.log1p(-min(*chances, 1 - 1e-16))) if chances else 1.0)
    return smallest


def share(hits: int, total: int) -> str:
    """So many of so many, with the Wilson interval."""
    if not total:
        return ""
    rate = wilson(hits, total)
    return f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%})"


def area(infected: Sequence[float], clean: Sequence[float]) -> str:
    """The chance that a backdoored model has the smaller p-value than a clean one, with its interval."""
    if not infected or not clean:
        return ""
    found = area_under([-p for p in infected], [-p for p in clean])
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """The lines of a table."""
    return [
        f"| {' | '.join(titles)} |",
        "|" + "---|" * len(titles),
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
    ]
