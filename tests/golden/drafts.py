"""Studies drafted from real label tables, with a tiny made-up scan for the patients of the first rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import yaml

PATIENTS = 60
# table, its column of ids
LABEL_TABLES = {
    "upenn": ("upenn_gbm_clinical/UPENN-GBM_clinical_info_v1.1.csv", "ID"),
    "ucsf": ("ucsf_pdgm_radiomics/jmh_UCSF-PDGM-metadata_v2.csv", "ID"),
    "tcga-glioma": ("tcga_gbm_lgg_mutations/TCGA_GBM_LGG_Mutations_all.csv", "Case_ID"),
    "tcga-brca": ("tcga_brca/ky_CliniUnOpHer2.csv", "ID"),
    "ispy2": ("ispy2_breast/metadata_spy2_vis1_for_modeling.csv", "pid"),
}


def write_drafts(data: Path, folder: Path, scan2gene: Callable[..., str]) -> Path:
    """Write drafts.csv, the drafted targets, and curated.csv, the labels and exclusions of curation.

    Args:
        data: The folder of real data.
        folder: Gets the two, and a study per table.
        scan2gene: The command line.
    """
    targets, counts = [], []
    for name, (file, column) in LABEL_TABLES.items():
        place = folder / name
        for patient in dict.fromkeys(pd.read_csv(data / file, dtype=str)[column].dropna().iloc[:PATIENTS]):
            scan = place / "scans" / patient / "t1.nii.gz"
            scan.parent.mkdir(parents=True)
            array = np.random.default_rng(len(patient)).integers(0, 200, (4, 4, 4)).astype(np.int16)
            nib.save(nib.Nifti1Image(array, np.diag([-1.0, -1, 2, 1])), scan)
        scan2gene("new", "--scans", place / "scans", "--labels", data / file, "-o", place / "study.yaml")
        study = yaml.safe_load((place / "study.yaml").read_text())
        targets += [_row(name, target, given) for target, given in study["targets"].items()]
        cohort = study["cohort"]
        shown = [k for k in ("patient_column", "clinical", "site_column", "label_id_pattern") if k in cohort]
        targets += [{"table": name, "target": f"cohort.{k}", "column": str(cohort[k])} for k in shown]
        try:
            scan2gene("curate", place / "study.yaml", "-o", place / "run")
        except RuntimeError:  # the draft has lines to edit
            counts.append({"table": name, "target": "refused"})
            continue
        labels, cohort, left = (pd.read_csv(place / "run" / f"{n}.csv") for n in ("labels", "cohort", "exclusions"))
        counts += [{"table": name, "target": target, "one": int((own["value"] == 1).sum()),
                    "zero": int((own["value"] == 0).sum()), "patients": cohort["patient_id"].nunique(),
                    "excluded": len(left)} for target, own in labels.groupby("target")]  # fmt: skip
    pd.DataFrame(targets).to_csv(folder / "drafts.csv", index=False)
    pd.DataFrame(counts).to_csv(folder / "curated.csv", index=False)
    return folder


def _row(table: str, target: str, given: dict) -> dict[str, str]:
    words = {k: " | ".join(map(str, given[k])) for k in ("positive", "negative", "unknown") if k in given}
    return {"table": table, "target": target, "column": str(given.get("column", target))} | words
