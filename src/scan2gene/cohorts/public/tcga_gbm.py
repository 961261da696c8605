"""TCGA-GBM: glioblastoma of The Cancer Genome Atlas."""

from __future__ import annotations

from scan2gene.cohorts.public.card import PublicCohort

CARD = PublicCohort(
    title="glioblastoma of many hospitals: mutations from the GDC's MAF",
    page="https://doi.org/10.7937/K9/TCIA.2016.RNYFUYE9",
    labels="a MAF of TCGA-GBM from the GDC, as cohort.mutations",
    cohort={
        "mutations": "tcga_gbm.maf.gz",
        "exams": "first",
        "roles": {
            "t1": {"match": {"sequence": "T1"}, "optional": True},
            "t1c": {"match": {"sequence": "T1c"}, "optional": True},
            "t2": {"match": {"sequence": "T2"}, "optional": True},
            "flair": {"match": {"sequence": "FLAIR"}, "optional": True},
        },
    },
    targets={
        "IDH": {"genes": ["IDH1", "IDH2"]},
        "TP53": {"genes": ["TP53"]},
        "PTEN": {"genes": ["PTEN"]},
        "EGFR": {"genes": ["EGFR"]},
    },
    closed="its MR images are no longer open: a face can be made out of a head scan. The page says under Data Access "
    "how an institution applies for them. Who has them begins with: scan2gene new gbm-mutations",
    notes=("Without cohort.sequenced whoever has no row in the MAF is unknown, not wild type.",),
)
