"""ISPY2: breast cancer under neoadjuvant chemotherapy."""

from __future__ import annotations

from scan2gene.cohorts.public.card import PublicCohort

CARD = PublicCohort(
    title="breast cancer under chemotherapy, 719 patients: DCE at up to four visits; receptors, response",
    page="https://doi.org/10.7937/TCIA.D8Z0-9T85",
    labels="metadata_spy2_vis1_for_modeling.csv of BreastDCEDL, or the page's clinical table",
    collection="ispy2",
    series=r"VOLSER.*: (PE2|SER)$",
    cohort={
        "patient_column": "pid",
        "include": {"StudyDescription": "T0"},
        "exams": "first",
        "roles": {
            "pe": {"match": {"SeriesDescription": r"VOLSER.*: PE2$"}},
            "ser": {"match": {"SeriesDescription": r"VOLSER.*: SER$"}},
        },
    },
    targets={"triple_negative": {"column": "TripleNeg"}, "HER2": {"column": "HER2pos"}, "pCR": {}},
    notes=(
        "pe and ser are maps of early enhancement and of the signal enhancement ratio; visit T0, before treatment.",
    ),
)
