"""In what two audits differ."""

from collections.abc import Iterable

from mantrap.ops.intervals import wilson
from mantrap.records import AuditRecord, ComparedRecord, DetectionRecord, LabelRecord, Rate
from mantrap.workflow.contrast import Findings, Place, contrasted, settings


def compare_audits(first: AuditRecord, second: AuditRecord, names: tuple[str, str]) -> ComparedRecord:
    """What two audits began with, and in what their findings differ, label by label and trait by trait.

    Args:
        first: One audit.
        second: Another one, of whatever model and images.
        names: What they are called.
    """
    one, other = _findings(first), _findings(second)
    changes = tuple(contrasted(one, other))
    began = settings(_began(first), _began(second))
    same = {entry.what: entry.same for entry in began}
    return ComparedRecord(
        of="audits",
        first=names[0],
        second=names[1],
        headline=_headline(first, second, same, len(changes), len({**one, **other})),
        findings_same=not changes,
        settings=began,
        compared=len(one.keys() & other.keys()),
        changes=changes,
    )


def _headline(first: AuditRecord, second: AuditRecord, same: dict[str, bool], changed: int, total: int) -> str:
    model = "The same model" if same["model"] else "Another model"
    images = "the same images" if same["images"] else "other images"
    verdicts = [record.verdict.value for record in (first, second)]
    said = f"{verdicts[0]} in both" if verdicts[0] == verdicts[1] else f"{verdicts[0]}, then {verdicts[1]}"
    differ = "nothing that was found differs" if not changed else f"{changed:,} of {total:,} findings differ"
    return f"{model}, {images}: {said}; {differ}."


def _began(record: AuditRecord) -> dict[str, object]:
    """What an audit began with."""
    model, data, how = record.model, record.data, record.reproduction
    preprocessing = (model.input_shape, model.mean, model.std, model.pixel_range)
    return {
        "model": model.sha256,
        "images": data.digest or data.name,
        "network": model.arch,
        "preprocessing": ", ".join(map(str, preprocessing)),
        "seed": how.seed,
        "detectors": ", ".join(how.detectors),
        "references": ", ".join(reference.sha256 for reference in record.references) or "none",
        "command": how.command,
        "rule": record.verdict_rule,
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(how.versions.items())),
    }


def _findings(record: AuditRecord) -> Findings:
    """Everything that an audit found, by where it stands; what follows from it in words is left out."""
    found: Findings = {
        Place("audit", "verdict"): record.verdict.value,
        Place("audit", "labels with a trigger"): _listed(suspect.label for suspect in record.suspects),
        Place("audit", "what bars the all-clear"): "; ".join(record.barring) or "nothing",
    }
    if (compared := record.comparison) is not None:
        parts = {"p-value": compared.p_value, "level": compared.level, "shift": compared.shift, "pair": compared.pair}
        found |= {Place("audit", what): value for what, value in parts.items() if value is not None}
        for standing in compared.standings:
            found[_label(standing.label, standing.class_name, "chance by all traits")] = standing.chance
    for check in record.checks:
        found[Place("check", check.name)] = f"{check.status.value}: {check.message}"
    for detection in record.detections:
        found |= _of_detector(detection)
    for suspect in record.suspects:
        about = (suspect.label, suspect.class_name)
        found[_label(*about, "its trigger elsewhere")] = suspect.elsewhere
        found[_label(*about, "its trigger shuffled")] = suspect.shuffled
        found[_label(*about, "its trigger on a copy")] = suspect.on_copy
    if record.shift is not None:
        found[Place("every class to another", "classes further on")] = record.shift.by
        found[Place("every class to another", "success")] = record.shift.success
    if record.pair is not None:
        found[Place("pair of classes", "which")] = f"{record.pair.label} to {record.pair.to}"
        found[Place("pair of classes", "success")] = record.pair.success
    return {place: value for place, value in found.items() if value is not None}


def _of_detector(detection: DetectionRecord) -> Findings:
    """What one detector found: its score, and every label's traits, norm and success."""
    who = detection.detector.partition("(")[0]
    found: Findings = {
        Place(who, "suspects"): _listed(detection.suspects),
        Place(who, "score"): detection.score,
        Place(who, "its own p-value"): detection.p_value,
    }
    for trait in detection.traits:
        found[_label(trait.label, trait.class_name, f"{who}: {trait.trait}")] = trait.value
        found[_label(trait.label, trait.class_name, f"{who}: chance by {trait.trait}")] = trait.chance
    for label in detection.labels:
        found[_label(label.label, label.class_name, f"{who}: norm")] = label.norm
        found[_label(label.label, label.class_name, f"{who}: success")] = _success(label)
    return found


def _success(label: LabelRecord) -> Rate | None:
    """How often the trigger of a label works, as a share with its interval."""
    if label.success is None or not label.heldout:
        return None
    return wilson(round(label.success * label.heldout), label.heldout)


def _label(label: int, class_name: str, what: str) -> Place:
    named = str(label) if class_name == str(label) else f"{label} {class_name}"
    return Place(f"label {named}", what)


def _listed(labels: Iterable[int]) -> str:
    return ", ".join(map(str, labels)) or "none"
