"""Put the parts of an audit's record together."""

from collections.abc import Sequence

from mantrap.core import Classifier, Detection, ImageSet
from mantrap.records import DataRecord, DetectionRecord, LabelRecord, MarginRecord, ModelRecord
from mantrap.workflow.verdict import Judged, norm_statistics


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


def detection_record(model: Classifier, detection: Detection, judged: Sequence[Judged]) -> DetectionRecord:
    """One detector's answer."""
    return DetectionRecord(
        detector=detection.detector,
        score=finite(detection.score),
        suspects=detection.suspects,
        labels=label_records(model, detection, judged),
        statistics=norm_statistics(judged),
        notes=detection.notes,
        margins=tuple(
            MarginRecord(
                label=label,
                class_name=model.class_names[label],
                margin=margin,
                index=finite(detection.indices.get(label)),
            )
            for label, margin in sorted(detection.margins.items())
        ),
        p_value=detection.p_value,
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
