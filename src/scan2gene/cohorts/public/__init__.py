"""Public cohorts by name: one file each, one line here."""

from __future__ import annotations

from scan2gene.cohorts.public import (
    acrin_6698,
    duke_breast_cancer_mri,
    ispy1,
    ispy2,
    tcga_brca,
    tcga_gbm,
    tcga_lgg,
    ucsf_pdgm,
    upenn_gbm,
)
from scan2gene.cohorts.public.card import PublicCohort
from scan2gene.core.errors import CohortError
from scan2gene.core.section import unknown_name

COHORTS: dict[str, PublicCohort] = {
    "upenn-gbm": upenn_gbm.CARD,
    "ucsf-pdgm": ucsf_pdgm.CARD,
    "tcga-gbm": tcga_gbm.CARD,
    "tcga-lgg": tcga_lgg.CARD,
    "duke-breast-cancer-mri": duke_breast_cancer_mri.CARD,
    "ispy1": ispy1.CARD,
    "ispy2": ispy2.CARD,
    "acrin-6698": acrin_6698.CARD,
    "tcga-brca": tcga_brca.CARD,
}


def public_cohort(name: str) -> PublicCohort:
    """The card of a cohort; case and underscores are ignored.

    Raises:
        CohortError: Unknown; the message lists the names.
    """
    key = name.lower().replace("_", "-")
    if key not in COHORTS:
        raise CohortError(f"public cohort {unknown_name(name, COHORTS)}")
    return COHORTS[key]


def study_text(name: str) -> str:
    """A study file for a cohort laid out by `scan2gene fetch`: what is its own; the rest is chosen from the cohort."""
    import yaml

    card = public_cohort(name)
    where = {} if "mutations" in card.cohort else {"labels": "labels.csv"}
    value = {
        "name": name.lower().replace("_", "-"),
        "cohort": {"scans": ["scans"], **where, **card.cohort},
        "targets": card.targets,
    }
    lines = [f"# {card.title}", f"# Labels: {card.labels}, from {card.page}; put it here. EDIT the file's name below."]
    lines += [f"# {note}" for note in card.notes]
    return "\n".join(lines) + "\n" + yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
