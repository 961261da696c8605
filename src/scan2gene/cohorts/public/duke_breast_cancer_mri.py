"""Duke-Breast-Cancer-MRI: breast cancer of one hospital, before treatment."""

from __future__ import annotations

from scan2gene.cohorts.public.card import PublicCohort

CARD = PublicCohort(
    title="breast cancer, 922 patients: DCE; receptors, subtype (Saha 2018, doi 10.1038/s41416-018-0185-8)",
    page="https://doi.org/10.7937/TCIA.e3sv-re93",
    labels="Clinical_and_Other_Features.xlsx",
    collection="duke_breast_cancer_mri",
    series=r"1st pass|^Ph1/",
    cohort={
        "patient_column": "Patient ID",
        "unknown": ["NP", "NC"],
        "roles": {"t1c": {"match": {"SeriesDescription": r"1st pass|^Ph1/"}}},
    },
    targets={
        "ER": {},
        "HER2": {},
        "triple_negative": {"column": "Mol Subtype", "positive": [3], "negative": [0, 1, 2]},
    },
    notes=("The images may not be used commercially: CC BY-NC.",),
)
