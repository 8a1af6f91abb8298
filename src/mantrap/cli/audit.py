"""``mantrap audit``."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from mantrap.cli.opening import open_said
from mantrap.cli.options import Declared, Images, Output, Running, command_line
from mantrap.cli.progress import watching
from mantrap.cli.showing import EXIT, show


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Scan:
    """What to look at, and who looks."""

    arch: str | None = None
    """Architecture where the file has no card: a spec of ours, or FILE.py:NAME of a file that you trust."""
    detector: tuple[str, ...] = ()
    """Spec of a detector; may be given several times. The usual six where none is given."""
    pairs: Annotated[bool | None, Parameter(negative="--no-pairs")] = None
    """Scan pairs of classes as well, for backdoors that react to some only; without either, where a budget has room."""
    label: tuple[int, ...] = ()
    """Scan this label only; may be given several times."""
    copy: Annotated[bool | None, Parameter(negative="--no-copy")] = None
    """Measure a copy retrained on the images as well; without either, where a label stands out and it is cheap."""
    control: Annotated[bool | None, Parameter(negative="--no-control")] = None
    """Plant a known patch in a copy, which must be found for an all-clear; without either, where it decides."""
    budget: str | None = None
    """How long detectors may take, such as 30s, 5m or 1h; what is missing by then is said, and bars the all-clear."""
    workers: int | None = None
    """Processes that search at the same time, each with --threads 1 unless said otherwise; the answer is the same."""
    reference: tuple[Path, ...] = ()
    """Model of the same task that you trust, or a folder of such; may be given several times. Each costs a scan."""


_DECLARED, _RUNNING, _SCAN = Declared(), Running(), Scan()


def audit(
    model: Path,
    /,
    *,
    images: Images,
    output: Output,
    scan: Scan = _SCAN,
    declared: Declared = _DECLARED,
    running: Running = _RUNNING,
) -> int:
    """Look for a backdoor in a model, and write the verdict and a report.

    With --images none only detectors that need no images look, and nothing is cleared.

    Parameters
    ----------
    model: Path
        File of weights: safetensors, or a state dict of torch.save.
    """
    from mantrap.core import spec_of  # noqa: PLC0415 - torch
    from mantrap.workflow import audit as auditing  # noqa: PLC0415 - torch
    from mantrap.workflow.budget import seconds_of  # noqa: PLC0415 - torch
    from mantrap.workflow.plan import Plan, Reference, Source, who_looks  # noqa: PLC0415 - torch
    from mantrap.workflow.references import reference_files  # noqa: PLC0415 - torch

    workers = 1 if scan.workers is None else scan.workers
    threads = running.threads or (1 if workers > 1 else None)
    running.apply(threads=threads)
    budget = None if scan.budget is None else seconds_of(scan.budget)
    who = who_looks(scan.detector, budget=budget, pairs=scan.pairs)
    found = None if images.none else images.load(split="test", seed=running.seed)
    shape = images.shape if found is None else found.shape
    opened = partial(open_said, arch=scan.arch, shape=shape, declared=declared, running=running)
    named = () if who.if_time else tuple(str(spec_of(d)) for d in who.detectors)
    spoken = replace(scan, detector=named, pairs=None, workers=None)
    how = running.told() | {"threads": threads}
    plan = Plan(
        detectors=who.detectors,
        if_time=who.if_time,
        labels=scan.label or None,
        workers=workers,
        copy=scan.copy,
        control=scan.control,
        budget=budget,
        references=tuple(Reference(Source.of(path), opened(path)) for path in reference_files(scan.reference)),
        seed=running.seed,
        command=command_line("audit", model.name, images, spoken, declared, **how),
    )
    classifier, source = opened(model), Source.of(model, partial(opened, model))
    observer, out = watching(quiet=running.quiet), output.out
    record = auditing.audit(classifier, found, plan=plan, source=source, out=out, fresh=output.fresh, progress=observer)
    show(record, as_json=output.json, page=out / auditing.REPORT_FILE)
    return EXIT[record.verdict]
