"""UPENN-GBM: glioblastoma of one hospital, before surgery and at recurrence."""

from __future__ import annotations

from scan2gene.cohorts.public.card import PublicCohort

CARD = PublicCohort(
    title="glioblastoma, 630 patients: T1, T1c, T2, FLAIR; IDH1, MGMT (Bakas 2022, doi 10.1038/s41597-022-01560-7)",
    page="https://doi.org/10.7937/tcia.709x-dn49",
    labels="UPENN-GBM_clinical_info_v*.csv",
    collection="upenn_gbm",
    series="CaPTk",
    cohort={
        "patient_column": "ID",
        "label_id_pattern": r"(.+)_11$",
        "include": {"SeriesDescription": "CaPTk"},
        "exam": "day",
        "exams": "first",
        "clinical": ["Age_at_scan_years"],
        "roles": {
            "t1": {"match": {"sequence": "T1"}, "optional": True},
            "t1c": {"match": {"sequence": "T1c"}, "optional": True},
            "t2": {"match": {"sequence": "T2"}, "optional": True},
            "flair": {"match": {"sequence": "FLAIR"}},
        },
    },
    targets={
        "IDH1": {},
        "MGMT": {"positive": ["Methylated"], "negative": ["Unmethylated"], "unknown": ["Indeterminate"]},
    },
    notes=(
        "Every series is a DICOM study of its own there: exam: day joins those of one patient and day.",
        "Ids end in _11 before surgery and in _21 at recurrence; the first exam goes with _11.",
        "IDH1 NOS/NEC is unknown here, not wild type.",
    ),
)
