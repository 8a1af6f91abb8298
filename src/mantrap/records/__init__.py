"""Plain, frozen, torch-free values with a versioned JSON form: what a report is made of."""

from mantrap.records.attacks import AttackMeasure, Stealth
from mantrap.records.audit import (
    AuditRecord,
    CheckRecord,
    CheckStatus,
    DataRecord,
    DetectionRecord,
    Example,
    LabelRecord,
    ModelRecord,
    NormStatistics,
    Picture,
    Prediction,
    Rate,
    Reproduction,
    StageCost,
    StageTime,
    SuspectRecord,
    Verdict,
    Volatile,
)
from mantrap.records.base import SCHEMA_VERSION, Record, json_schema
from mantrap.records.cards import EpochRecord, ModelCard, TrainingRecord

__all__ = [
    "SCHEMA_VERSION",
    "AttackMeasure",
    "AuditRecord",
    "CheckRecord",
    "CheckStatus",
    "DataRecord",
    "DetectionRecord",
    "EpochRecord",
    "Example",
    "LabelRecord",
    "ModelCard",
    "ModelRecord",
    "NormStatistics",
    "Picture",
    "Prediction",
    "Rate",
    "Record",
    "Reproduction",
    "StageCost",
    "StageTime",
    "Stealth",
    "SuspectRecord",
    "TrainingRecord",
    "Verdict",
    "Volatile",
    "json_schema",
]
