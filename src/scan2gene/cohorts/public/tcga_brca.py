"""TCGA-BRCA: breast cancer of The Cancer Genome Atlas."""

from __future__ import annotations

from scan2gene.cohorts.public.card import PublicCohort

CARD = PublicCohort(
    title="breast cancer of several hospitals, 137 patients with MR: mutations from the GDC's MAF",
    page="https://doi.org/10.7937/K9/TCIA.2016.AB2NAZRP",
    labels="a MAF of TCGA-BRCA from the GDC, as cohort.mutations",
    collection="tcga_brca",
    series=r"\+ ?C|POST|vibrant|dyn",
    cohort={
        "mutations": "tcga_brca.maf.gz",
        "exams": "first",
        "roles": {"t1c": {"match": {"SeriesDescription": r"\+ ?C|POST|vibrant|dyn"}}},
    },
    targets={"TP53": {"genes": ["TP53"]}, "PIK3CA": {"genes": ["PIK3CA"]}, "BRCA": {"genes": ["BRCA1", "BRCA2"]}},
    notes=("Mutations are those of the tumour; inherited ones are not in the open MAF.",),
)
