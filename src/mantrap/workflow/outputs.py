"""Whose work lies at a place where a verb is to write."""

from collections.abc import Mapping
from pathlib import Path

from mantrap.errors import OutputError
from mantrap.workflow.rundir import difference


def finished(
    out: Path, before: Mapping[str, object] | None, now: Mapping[str, object], *, there: bool, fresh: bool = False
) -> bool:
    """Whether a place holds this very work, finished.

    Args:
        out: The place.
        before: What the work there followed from; ``None`` where nothing says so.
        now: What this work follows from, among it its ``kind``.
        there: Whether anything is there.
        fresh: Start over where another such work lies.

    Raises:
        OutputError: The place holds another work of the kind and there is no ``fresh``, or something that does not say
            what it is, which is never touched.
    """
    lies_there = (before or {}).get("kind")
    if (there or before is not None) and lies_there != now["kind"]:
        raise OutputError(
            expected=f"{out} to be new or to hold a {now['kind']}",
            got=f"a {lies_there}" if lies_there else "something that does not say how it came about",
            remedy="Choose another --out.",
        )
    if before is None or fresh:
        return False
    if dict(before) != dict(now):
        raise OutputError(
            expected=f"{out} to be new or to hold this very work",
            got=f"the work of another {difference(before, now)}",
            remedy="Choose another --out, or start over with --fresh.",
        )
    return there
