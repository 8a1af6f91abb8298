"""``mantrap audit``."""

import sys
from pathlib import Path

from mantrap.cli.options import Declared, Images, Running, command_line, words_of
from mantrap.cli.progress import watching
from mantrap.records import Verdict

EXIT = {Verdict.NO_EVIDENCE: 0, Verdict.SUSPICIOUS: 1, Verdict.INCONCLUSIVE: 3, Verdict.REFUSED: 4}
_DECLARED, _RUNNING = Declared(), Running()


def audit(
    model: Path,
    /,
    *,
    images: Images,
    out: Path,
    arch: str | None = None,
    declared: Declared = _DECLARED,
    detector: tuple[str, ...] = ("neural_cleanse",),
    label: tuple[int, ...] = (),
    fresh: bool = False,
    json: bool = False,
    running: Running = _RUNNING,
) -> int:
    """Look for a backdoor in a model, and write the verdict and a report.

    Parameters
    ----------
    model: Path
        File of weights: safetensors, or a state dict of torch.save.
    out: Path
        Folder for audit.json and report.html; an unfinished run in it goes on.
    arch: str
        Architecture where the file has no card: a spec of ours, or FILE.py:NAME of a file that you trust.
    detector: tuple[str, ...]
        Spec of a detector; may be given several times.
    label: tuple[int, ...]
        Scan this label only; may be given several times.
    fresh: bool
        Start over in a folder that holds another run.
    json: bool
        Print the record on stdout, and nothing else.
    """
    from mantrap.core import spec_of  # noqa: PLC0415 - torch
    from mantrap.detect import DETECTORS  # noqa: PLC0415 - torch
    from mantrap.models import open_model  # noqa: PLC0415 - torch
    from mantrap.records.files import sha256_of, write_atomically  # noqa: PLC0415 - torch
    from mantrap.report import render_html, render_text  # noqa: PLC0415 - start-up
    from mantrap.workflow.audit import REPORT_FILE  # noqa: PLC0415 - torch
    from mantrap.workflow.audit import audit as run  # noqa: PLC0415 - torch
    from mantrap.workflow.plan import Plan, Source  # noqa: PLC0415 - torch

    running.apply()
    detectors = tuple(DETECTORS.create(spec) for spec in detector)
    found = images.load(split="test", seed=running.seed)
    classifier = open_model(
        model, arch=arch, images_shape=found.shape, declared=declared.preprocessing(), device=running.device
    )
    plan = Plan(
        detectors=detectors,
        labels=label or None,
        seed=running.seed,
        command=command_line(
            "audit",
            model.name,
            *words_of(images, arch=arch),
            *words_of(declared, detector=tuple(str(spec_of(d)) for d in detectors), label=label, seed=running.seed),
        ),
    )
    record = run(
        classifier,
        found,
        plan=plan,
        source=Source(model.name, sha256_of(model), str(model)),
        out=out,
        fresh=fresh,
        progress=watching(quiet=running.quiet),
    )
    write_atomically(out / REPORT_FILE, render_html(record).encode())
    sys.stdout.write(record.to_json() if json else f"{render_text(record)}\nReport: {out / REPORT_FILE}\n")
    return EXIT[record.verdict]
