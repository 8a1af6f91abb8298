"""What the pages of all reports have in common: how they begin, what work took, and their templates."""

import base64
import functools
import hashlib
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import jinja2

from mantrap.records import Record, StageCost, Verdict, Volatile
from mantrap.records.traits import TRAITS
from mantrap.report.words import (
    VerdictWords,
    confidence,
    interval,
    looked,
    name_of,
    natural,
    number,
    percent,
    scrub,
    signed,
    washed_out,
)

LONG_TABLE = 20
"""Tables of more rows are folded away."""


@dataclass(frozen=True)
class Stage:
    """What one stage cost; ``None`` where the record does not say."""

    name: str
    forward: int | None
    backward: int | None
    cpu_seconds: float | None
    wall_seconds: float | None


@dataclass(frozen=True)
class Opening:
    """With what a page begins.

    ``about`` is what its title names beside the verdict, ``colour`` the class of its header in ``report.css``.
    """

    words: VerdictWords
    colour: str
    about: str
    headline: str


def colour_of(verdict: Verdict) -> str:
    """The colour of a verdict, as a class in the style sheets."""
    return verdict.value.lower().replace("_", "-")


def render_page(name: str, record: Record, opening: Opening, **shown: Any) -> str:
    """A whole page, which loads nothing and runs no script.

    Args:
        name: Template, which goes on from ``page.html``.
        record: What it is about.
        opening: With what it begins.
        shown: What else the template asks for.
    """
    return template(name).render(
        **vars(opening), record=record, style_hash=style_hash(), long_table=LONG_TABLE, **shown
    )


@runtime_checkable
class Costed(Protocol):
    """A record that says what it cost."""

    @property
    def cost(self) -> tuple[StageCost, ...]:
        """Images by stage."""

    @property
    def volatile(self) -> Volatile:
        """Seconds by stage, among other things."""


def style_hash() -> str:
    """The digest of a page's style sheet, for the Content-Security-Policy."""
    style = template("report.css").render()
    return base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def stages_of(record: Costed) -> list[Stage]:
    """What each stage took, in images and in seconds."""
    costs = {c.stage: c for c in record.cost}
    times = {t.stage: t for t in record.volatile.stages}
    return [
        Stage(
            name,
            costs[name].forward if name in costs else None,
            costs[name].backward if name in costs else None,
            times[name].cpu_seconds if name in times else None,
            times[name].wall_seconds if name in times else None,
        )
        for name in dict.fromkeys([*costs, *times])
    ]


def template(name: str) -> jinja2.Template:
    """A template of the reports."""
    return _environment().get_template(name)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mantrap.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Every value passes here before it is escaped, so no template can forget to clean a name.
        finalize=lambda value: scrub(value) if type(value) is str else value,
    )
    environment.filters.update(percent=percent, confidence=confidence, interval=interval, number=number, signed=signed)
    environment.globals.update(name_of=name_of, natural=natural, looked=looked, washed_out=washed_out, traits=TRAITS)
    return environment
