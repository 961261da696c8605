"""UCSF-PDGM: preoperative diffuse glioma."""

from __future__ import annotations

from scan2gene.cohorts.public.card import PublicCohort

CARD = PublicCohort(
    title="glioma, 501 patients: T1, T1c, T2, FLAIR; IDH, MGMT, 1p/19q (Calabrese 2022, doi 10.1148/ryai.220058)",
    page="https://doi.org/10.7937/tcia.bdgf-8v37",
    labels="UCSF-PDGM-metadata_v*.csv",
    cohort={
        "patient_column": "ID",
        "label_id_pattern": r"UCSF-PDGM-0*(\d+)",
        "patient_pattern": r"UCSF-PDGM-0*(\d+)",
        "clinical": ["Age at MRI"],
        "roles": {
            "t1": {"match": {"path": r"_T1(_bias)?\.nii"}},
            "t1c": {"match": {"path": r"_T1(c|gad)(_bias)?\.nii"}},
            "t2": {"match": {"path": r"_T2(_bias)?\.nii"}},
            "flair": {"match": {"path": r"_FLAIR(_bias)?\.nii"}},
            "mask": {"match": {"path": r"_tumor_segmentation\.nii"}, "kind": "label", "optional": True},
        },
    },
    targets={
        "IDH": {"positive": ["mutated*", "IDH1 p.*", "IDH2 p.*"], "negative": ["wildtype"]},
        "MGMT": {
            "column": "MGMT status",
            "positive": ["positive"],
            "negative": ["negative"],
            "unknown": ["indeterminate"],
        },
        "codeleted": {
            "column": "1p/19q",
            "positive": ["co-deletion", "relative co-deletion"],
            "negative": ["intact"],
        },
    },
    closed="its images are no DICOM and not in Imaging Data Commons. The page has them as NIfTI, free of charge, "
    "through its own download program",
    notes=("Folders write ids with four digits, the table with three: both are cut to the number.",),
)
