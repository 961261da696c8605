"""ISPY1 (ACRIN 6657): breast cancer under neoadjuvant chemotherapy."""

from __future__ import annotations

from scan2gene.cohorts.public.card import PublicCohort

CARD = PublicCohort(
    title="breast cancer under chemotherapy, 222 patients: DCE at up to four visits; receptors, response",
    page="https://doi.org/10.7937/K9/TCIA.2016.HdHpgJLK",
    labels="the clinical and outcome table (Excel)",
    collection="ispy1",
    series=r": SER$",
    cohort={
        "patient_column": "SUBJECTID",
        "label_id_pattern": r"(\d{4})$",
        "patient_pattern": r"ISPY1_(\d{4})",
        "exams": "first",
        "roles": {"ser": {"match": {"SeriesDescription": r": SER$"}}},
    },
    targets={"HR": {"column": "HR Pos"}},
    notes=("ser is the map of the signal enhancement ratio; names of columns are those of the table of 2015: look.",),
)
