"""Put the parts of an audit's record together."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mantrap.core import Classifier, Detection, ImageSet
from mantrap.detect import DETECTORS, PairScan
from mantrap.detect.nulls import known_coverage
from mantrap.records import (
    CheckStatus,
    ComparisonRecord,
    CopyRecord,
    CoverageRecord,
    DataRecord,
    DetectionRecord,
    LabelRecord,
    ModelRecord,
    ReferenceRecord,
    StandingRecord,
    TraitRecord,
)
from mantrap.workflow.comparing import Compared
from mantrap.workflow.norms import Judged, norm_statistics
from mantrap.workflow.pairing import Paired
from mantrap.workflow.plan import Plan, spelled
from mantrap.workflow.references import Looked
from mantrap.workflow.retraining import Copied
from mantrap.workflow.verdict import Moved


def finite(value: float | None) -> float | None:
    """The value, or ``None`` where it is infinite: a record holds finite numbers only."""
    return value if value is not None and abs(value) < float("inf") else None


def label_records(model: Classifier, detection: Detection, judged: Sequence[Judged]) -> tuple[LabelRecord, ...]:
    """One entry for each label that the detector scanned, in the order of the labels."""
    index = {j.label: j.index for j in judged}
    return tuple(
        LabelRecord(
            label=f.label,
            class_name=model.class_names[f.label],
            norm=f.norm,
            index=finite(index.get(f.label)),
            success=None if f.success is None else f.success.value,
            success_interval=None if f.success is None else (f.success.low, f.success.high),
            heldout=0 if f.success is None else f.success.total,
            censored=f.censored,
            steps=f.steps,
            stopped=f.stopped,
        )
        for f in sorted(detection.labels, key=lambda f: f.label)
    )


def most_labels(
    model: Classifier, detections: Sequence[Detection], judged: Sequence[Sequence[Judged]]
) -> tuple[LabelRecord, ...]:
    """The labels of the detector that has most to say of them; the record of every detection holds its own."""
    first = max(range(len(judged)), key=lambda i: (len(judged[i]), -i))
    return label_records(model, detections[first], judged[first])


def detection_record(
    model: Classifier, detection: Detection, judged: Sequence[Judged], compared: Compared | None = None
) -> DetectionRecord:
    """One detector's answer, and by what chance an ordinary label stands as high."""
    chances = {
        (p.trait.name, s.label, p.value): p.chance for s in (compared.standings if compared else ()) for p in s.parts
    }
    return DetectionRecord(
        detector=detection.detector,
        score=finite(detection.score),
        suspects=detection.suspects,
        labels=label_records(model, detection, judged),
        statistics=norm_statistics(judged, detection.population),
        notes=detection.notes,
        traits=_trait_records(model, detection.traits, chances),
        p_value=detection.p_value,
        unit=detection.unit,
        population=detection.population,
    )


def coverage_record(plan: Plan, rule: str, copied: Copied, detections: Sequence[Detection]) -> CoverageRecord | None:
    """What audits of such a plan found by this rule, beside copies where these count; ``None`` where nobody knows."""
    known = known_coverage()
    usual = plan.copy is None and plan.labels is None and not plan.references
    whole = copied.check.status is CheckStatus.PASSED and not any(detection.missed for detection in detections)
    if known.rule != rule or not usual or not whole:
        return None
    sets = ({*known.detectors}, {*known.detectors, spelled(PairScan())})
    plans = [Plan(detectors=tuple(map(DETECTORS.create, some)), budget=plan.budget) for some in sets]
    if set(plan.detectors) not in [set(one.detectors) for one in plans]:
        return None
    paired = any(detection.pairs is not None for detection in detections)
    return with_pairs(known) if paired else dataclasses.replace(known, with_pairs=())


def with_pairs(known: CoverageRecord) -> CoverageRecord:
    """What is known of audits that scan pairs of classes as well."""
    others = {entry.family: entry for entry in known.with_pairs}
    families = tuple(others.get(entry.family, entry) for entry in known.families)
    return dataclasses.replace(known, families=families, with_pairs=())


def copy_record(model: Classifier, copied: Copied) -> CopyRecord | None:
    """The copy, and what was measured of it."""
    if copied.agreement is None or copied.measured is None:
        return None
    return CopyRecord(
        images=copied.images,
        agreement=copied.agreement,
        unsure=copied.unsure,
        traits=tuple(t for by_trait in copied.measured for t in _trait_records(model, by_trait)),
    )


def _trait_records(
    model: Classifier,
    measured: Mapping[str, Mapping[int, float]],
    chances: Mapping[tuple[str, int, float], float] = MappingProxyType({}),
) -> tuple[TraitRecord, ...]:
    """Values by trait and label, in the order of the labels, with the chances that are known."""
    return tuple(
        TraitRecord(
            trait=trait,
            label=label,
            class_name=model.class_names[label],
            value=value,
            chance=chances.get((trait, label, value)),
        )
        for trait, values in measured.items()
        for label, value in sorted(values.items())
    )


def comparison_record(
    model: Classifier, compared: Compared | None, moved: Moved | None, paired: Paired | None
) -> ComparisonRecord | None:
    """How the labels stand by all detectors together."""
    if compared is None:
        return None
    shift, pair = None if moved is None else moved.shifted.chance, None if paired is None else paired.chance
    return ComparisonRecord(
        p_value=min(one for one in (compared.p_value, shift, pair) if one is not None),
        shift=shift,
        pair=pair,
        level=compared.level,
        null=compared.null,
        standings=tuple(
            StandingRecord(label=s.label, class_name=model.class_names[s.label], chance=compared.chance_of(s))
            for s in compared.standings
        ),
    )


def model_record(model: Classifier, *, file_name: str, sha256: str) -> ModelRecord:
    """The model as it was understood."""
    return ModelRecord(
        file_name=file_name,
        sha256=sha256,
        arch=model.arch,
        parameters=model.parameters,
        num_classes=model.num_classes,
        class_names=model.class_names,
        input_shape=model.input_shape,
        mean=model.mean,
        std=model.std,
        pixel_range=model.pixel_range,
    )


def reference_records(looked: Sequence[Looked]) -> tuple[ReferenceRecord, ...]:
    """The models that it was compared with."""
    sources = (one.reference.source for one in looked)
    return tuple(ReferenceRecord(file_name=source.file_name, sha256=source.sha256) for source in sources)


def data_record(images: ImageSet, scan: ImageSet, heldout: ImageSet) -> DataRecord:
    """The images and their two parts."""
    return DataRecord(
        name=images.name,
        digest=images.digest(),
        images=len(images),
        labelled=images.labelled,
        scan_images=len(scan),
        scan_digest=scan.digest(),
        heldout_images=len(heldout),
        heldout_digest=heldout.digest(),
    )
