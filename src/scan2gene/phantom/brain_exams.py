"""A synthetic brain cohort in the layout of the GBM study: `data/mri/raw/<patient>/<session>/<series>/*.dcm`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.geometry import LPS_TO_RAS
from scan2gene.phantom.exams import points_of, write_series
from scan2gene.phantom.heads import head_signal
from scan2gene.phantom.patients import Patient, draw_patients
from scan2gene.phantom.scanners import SCANNERS, Scanner

RAW = Path("data", "mri", "raw")
WIDE = Path("data", "mutation", "mutations.csv")
MAF = Path("data", "mutation", "mutations.maf")
SEQUENCED = Path("data", "mutation", "sequenced.txt")
TOLD = "IDH"  # the label that the tumour's look tells; the others are drawn by lot and cannot be learned
OTHERS = {"TP53": 0.4, "PTEN": 0.35, "EGFR": 0.25}  # name -> share of positives
NO_SCANS, NO_LABELS = "TCGA-ZZ-9001", "TCGA-ZZ-9000"

# (sequence, plane) of one session; every sequence in axial, and each other plane twice
SERIES = (
    ("t1", "axial"), ("t1c", "axial"), ("t2", "axial"), ("flair", "axial"),
    ("t1", "sagittal"), ("t1c", "coronal"), ("flair", "coronal"), ("t2", "sagittal"),
)  # fmt: skip
PLANES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "axial": ((1, 0, 0), (0, 1, 0)), "coronal": ((1, 0, 0), (0, 0, -1)), "sagittal": ((0, 1, 0), (0, 0, -1)),
}  # fmt: skip
# description, TR, TE and TI in ms
NAMES: dict[str, tuple[str, float, float, float]] = {
    "t1": ("T1", 550, 12, 0), "t1c": ("T1 POST GD", 550, 12, 0), "t2": ("T2 TSE", 4200, 100, 0),
    "flair": ("FLAIR", 9000, 120, 2500),
}  # fmt: skip
SLICES, IN_PLANE_MM, FIELD_MM = 22, 2.6, 208.0
SPAN_MM = {"axial": 154.0, "coronal": 198.0, "sagittal": 154.0}  # of the slices


def write_brain_cohort(
    folder: Path,
    n: int = 24,
    effect: float = 3.0,
    seed: int = 0,
    troubles: bool = True,
    series: Sequence[tuple[str, str]] = SERIES,
) -> list[Patient]:
    """Write scans (`RAW`), the wide table (`WIDE`), a MAF and the list of the sequenced.

    Args:
        folder: Made if needed.
        n: Patients with scans and labels, 6 at least where there are troubles.
        effect: See `patients.draw_patients`; of the label `TOLD`. 0 is the null cohort.
        seed: Same seed, same bytes.
        troubles: Add what real folders hold: see `_add_troubles`.
        series: (key of `heads.CONTRASTS`, key of `PLANES`) of every session.

    Returns:
        The patients, in the order of the table; `label` is that of `TOLD`.
    """
    drawn = draw_patients(n, effect, "brain", seed, prevalence=0.45)
    patients = [replace(p, patient_id=f"TCGA-ZZ-{i:04d}") for i, p in enumerate(drawn)]
    for patient in patients:
        write_session(folder / RAW / patient.patient_id / "session_1", patient, series)
    if troubles:
        _add_troubles(folder / RAW, patients, series)
    rng = np.random.default_rng([seed, n])
    ids = [p.patient_id for p in patients] + ([NO_SCANS] if troubles else [])
    table = pd.DataFrame({"patient_id": ids, TOLD: [p.label for p in patients] + [1] * (len(ids) - n)})
    for gene, share in OTHERS.items():
        table[gene] = rng.permutation((np.arange(len(ids)) < round(share * len(ids))).astype(int))
    _write_tables(folder, table, {p.patient_id: p.age for p in patients})
    return patients


def write_session(
    folder: Path, patient: Patient, series: Sequence[tuple[str, str]] = SERIES, study: int = 1, date: str = "20100315"
) -> None:
    """Write one session: `series_1`, `series_2`, ... with one DICOM series each."""
    for number, (sequence, plane) in enumerate(series, start=1):
        name, tr, te, ti = NAMES[sequence]
        header = {"SeriesDescription": f"{plane[:3].upper()} {name}", "RepetitionTime": tr, "EchoTime": te}
        _write(folder / f"series_{number}", patient, sequence, plane, (study, number), date,
               header | ({"InversionTime": ti} if ti else {}))  # fmt: skip


def _write(
    folder: Path,
    patient: Patient,
    sequence: str,
    plane: str,
    numbers: tuple[int, int],
    date: str,
    header: Mapping[str, Any],
    slices: int = SLICES,
) -> None:
    scanner = _scanner(patient, plane)
    shape, lps = _grid(scanner, slices)
    rng = np.random.default_rng([patient.seed, *numbers])
    clean = head_signal(patient, points_of(shape, LPS_TO_RAS @ lps), sequence)
    noise = rng.normal(0, 0.02, (2, *shape)).astype(np.float32)
    stored = np.clip(np.rint(np.hypot(clean + noise[0], noise[1]) * scanner.gain), 0, 4095).astype(np.uint16)
    write_series(folder, stored, lps, patient, scanner, sequence, numbers, "MR BRAIN W WO CONTRAST",
                 "image{:03d}.dcm", {"StudyDate": date, **header})  # fmt: skip


def _scanner(patient: Patient, plane: str) -> Scanner:
    row, column = PLANES[plane]
    spacing = SPAN_MM[plane] / SLICES
    return replace(SCANNERS[patient.scanner], row=row, column=column, in_plane_mm=IN_PLANE_MM,
                   slice_spacing_mm=spacing, slice_thickness_mm=spacing - 1)  # fmt: skip


def _grid(scanner: Scanner, slices: int) -> tuple[tuple[int, int, int], np.ndarray]:
    """Columns, rows, slices and the LPS affine of a field around the head's centre."""
    row, column = np.array(scanner.row), np.array(scanner.column)
    side = int(FIELD_MM / IN_PLANE_MM)
    shape = (side, side, slices)
    spacing = np.array([IN_PLANE_MM, IN_PLANE_MM, scanner.slice_spacing_mm])
    affine = np.eye(4)
    affine[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1) * spacing
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


def _add_troubles(raw: Path, patients: Sequence[Patient], series: Sequence[tuple[str, str]]) -> None:
    """A patient without labels; a second session; series that are repeated, copied, too short, scouts or nameless."""
    unlabelled = replace(patients[0], patient_id=NO_LABELS, seed=patients[0].seed + 1)
    write_session(raw / NO_LABELS / "session_1", unlabelled, series)
    write_session(raw / patients[1].patient_id / "session_2", patients[1], series, study=2, date="20100902")
    # the same acquisition once more, as a series of its own, and the same files in another folder
    again, twice = (raw / patients[2].patient_id / "session_1" / f"series_{k}" for k in (21, 22))
    name = {"SeriesDescription": "AXI FLAIR", "RepetitionTime": 9000, "EchoTime": 120, "InversionTime": 2500}
    _write(again, patients[2], "flair", "axial", (1, 21), "20100315", name)
    shutil.copytree(raw / patients[2].patient_id / "session_1" / "series_1", twice)
    _write(raw / patients[3].patient_id / "session_1" / "series_23", patients[3], "flair", "axial", (1, 23), "20100315",
           {**name, "SeriesDescription": "AXI FLAIR SHORT"}, slices=2)  # fmt: skip
    scout = raw / patients[4].patient_id / "session_1" / "series_24"
    _write(scout, patients[4], "t1", "sagittal", (1, 24), "20100315",
           {"SeriesDescription": "3-PLANE LOC"}, slices=3)  # fmt: skip
    nameless = raw / patients[5].patient_id / "session_1" / "series_25"
    _write(nameless, patients[5], "t2", "axial", (1, 25), "20100315", {"SeriesDescription": "WIP 17"})


def _write_tables(folder: Path, table: pd.DataFrame, ages: Mapping[str, float]) -> None:
    """The same labels as a wide table and as a MAF with the list of the sequenced."""
    (folder / WIDE).parent.mkdir(parents=True, exist_ok=True)
    words = table.drop(columns="patient_id").replace({1: "MUTATED", 0: "NOT_MUTATED"})
    wide = pd.concat([table["patient_id"], words, table["patient_id"].map(ages).rename("age")], axis=1)
    wide.to_csv(folder / WIDE, index=False, na_rep="Not Available")
    lines = ["#version 2.4", "Hugo_Symbol\tVariant_Classification\tTumor_Sample_Barcode\tHGVSp_Short"]
    barcodes = [f"{i}-01A-11D-0001-08" for i in table["patient_id"]]
    for barcode, row in zip(barcodes, table.to_dict("records"), strict=True):
        lines.append(f"TTN\tSilent\t{barcode}\tp.L1=")
        for gene in (TOLD, *OTHERS):
            symbol, change = ("IDH1", "p.R132H") if gene == "IDH" else (gene, "p.R7W")
            kind = "Missense_Mutation" if row[gene] else "Silent"  # a silent mutation does not count
            lines.append(f"{symbol}\t{kind}\t{barcode}\t{change if row[gene] else 'p.R7='}")
    (folder / MAF).write_text("\n".join(lines) + "\n")
    (folder / SEQUENCED).write_text("\n".join(barcodes) + "\n")
