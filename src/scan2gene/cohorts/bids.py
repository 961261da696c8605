"""A curated cohort written as a BIDS dataset.

Source: Brain Imaging Data Structure 1.9, https://bids-specification.readthedocs.io. Names are
sub-<label>[_ses-<label>][_acq-<label>][_ce-<label>]_<suffix>; times are in seconds; masks and
what BIDS has no raw name for are derivatives.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene import __version__
from scan2gene.cohorts.guess_roles import sequence_of
from scan2gene.core.console import track
from scan2gene.core.errors import CohortError, GeometryError, RunError, ScanError
from scan2gene.core.files import write_json, write_text
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import SIDES
from scan2gene.core.tables import harmless_table, write_csv
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.nifti import write_nifti
from scan2gene.tasks.outputs import output_name

BIDS_VERSION = "1.9.0"
DERIVATIVES = Path("derivatives") / "scan2gene"
# role or sequence -> entity, suffix
_RAW = {"t1": ("", "T1w"), "t1c": ("_ce-gadolinium", "T1w"), "t2": ("", "T2w"), "flair": ("", "FLAIR")}
# DICOM keyword -> key of the sidecar, factor to its unit (None: text)
_SIDECAR: dict[str, tuple[str, float | None]] = {
    "Manufacturer": ("Manufacturer", None), "ManufacturerModelName": ("ManufacturersModelName", None),
    "MagneticFieldStrength": ("MagneticFieldStrength", 1), "SeriesDescription": ("SeriesDescription", None),
    "ProtocolName": ("ProtocolName", None), "SequenceName": ("SequenceName", None),
    "BodyPartExamined": ("BodyPart", None), "ContrastBolusAgent": ("ContrastBolusAgent", None),
    "RepetitionTime": ("RepetitionTime", 1e-3), "EchoTime": ("EchoTime", 1e-3),
    "InversionTime": ("InversionTime", 1e-3), "FlipAngle": ("FlipAngle", 1),
    "SliceThickness": ("SliceThickness", 1), "SpacingBetweenSlices": ("SpacingBetweenSlices", 1),
}  # fmt: skip


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        patients: How many.
        volumes: How many.
        failed: (patient_id, role, reason) of series that could not be read.
    """

    patients: int
    volumes: int
    failed: tuple[tuple[str, str, str], ...]


def export_bids(
    run: Path, out: Path, paths: Mapping[str, str] | None = None, hide: Callable[[str], str] = str
) -> Exported:
    """Write the chosen series of a curated cohort as a BIDS dataset.

    Dates stay behind. A subject's label is the letters and digits of the patient's id as the
    run directory has it: of the pseudonym, where the study asks for pseudonyms.
    `bids_ids.csv` in the run directory says who is who.

    Args:
        run: Run directory, curated at least.
        out: New folder.
        paths: series_id -> what `read_volume` opens; default those of series.csv.
        hide: Takes out of a reason what must not be shown.

    Raises:
        RunError: `out` exists, or the run directory is not curated, or it holds pseudonyms
            and `paths` are not given.
        CohortError: Two patients would get one BIDS label.
    """
    if out.exists():
        raise RunError(f"{out} exists and is not overwritten. Name another folder.")
    cohort, series = RunDirectory(run).cohort.read(), RunDirectory(run).series.read().fillna("")
    labels = RunDirectory(run).labels.read()
    study = RunDirectory(run).study_json.read()
    if paths is None and study["cohort"].get("pseudonyms"):
        raise RunError(
            f"{run} holds pseudonyms and no paths. Name its study file: `scan2gene bids STUDY.yaml {out} --run {run}`."
        )
    roles = study["cohort"]["roles"]
    subjects = subject_labels(cohort["patient_id"])
    sessions = _sessions(cohort)
    if paths is not None:
        series["path"] = series["series_id"].map(paths)
    rows = series.set_index("series_id", drop=False).to_dict("index")
    unfinished = out.with_name(f"{out.name}.unfinished")
    if unfinished.exists():  # of an export that was stopped
        shutil.rmtree(unfinished)
    failed, written = [], 0
    exams = cohort.to_dict("records")
    for exam in track(exams, "bids", len(exams)):
        who = f"sub-{subjects[exam['patient_id']]}"
        when = sessions[exam["exam_id"]]
        chosen = {r: rows[exam[f"role:{r}"]] for r in roles if exam[f"role:{r}"] in rows}
        for role, stem in _stems(chosen, roles).items():
            try:
                _write_series(unfinished, (who, when), stem, chosen[role], roles[role])
                written += 1
            except (ScanError, GeometryError, OSError) as error:
                failed.append((exam["patient_id"], role, hide(str(error))))
    _write_tables(unfinished, cohort, labels, subjects, study)
    ids = sorted(subjects.items())
    write_csv(run / "bids_ids.csv", pd.DataFrame(ids, columns=["patient_id", "participant_label"]))
    unfinished.rename(out)
    return Exported(len(subjects), written, tuple(failed))


def subject_labels(patients: pd.Series) -> dict[str, str]:
    """patient_id -> BIDS label: letters and digits only.

    Raises:
        CohortError: Two patients would get one label.
    """
    labels: dict[str, str] = {}
    owner: dict[str, str] = {}
    for patient in sorted(set(patients)):
        label = re.sub(r"[^A-Za-z0-9]", "", patient.removeprefix("sub-"))
        other = owner.setdefault(label.casefold(), patient)  # some file systems ignore case
        if not label or other != patient:
            raise CohortError(f"patients {other!r} and {patient!r} would both be sub-{label}; rename one of them")
        labels[patient] = label
    return labels


def _sessions(cohort: pd.DataFrame) -> dict[str, str]:
    """exam_id -> ses-01, ses-02 in order of date; empty where every patient has one exam."""
    if cohort["patient_id"].is_unique:
        return dict.fromkeys(cohort["exam_id"], "")
    ordered = cohort.fillna({"date": ""}).sort_values(["date", "exam_id"])
    number = ordered.groupby("patient_id").cumcount() + 1
    return {exam: f"ses-{n:02d}" for exam, n in zip(ordered["exam_id"], number, strict=True)}


def _stems(chosen: Mapping[str, dict[str, Any]], roles: Mapping[str, Any]) -> dict[str, str]:
    """Role -> what follows subject and session in the name; a role without a raw BIDS name gets desc-."""
    plain = {role: re.sub(r"[^A-Za-z0-9]", "", role) for role in chosen}
    kinds = {role: "" if roles[role]["kind"] == "label" else sequence_of(row, role) for role, row in chosen.items()}
    stems = {}
    for role, kind in kinds.items():
        if roles[role]["kind"] == "label":
            stems[role] = f"_label-{'lesion' if role == 'mask' else plain[role]}_"
        elif kind in _RAW:
            entity, suffix = _RAW[kind]
            twice = list(kinds.values()).count(kind) > 1
            stems[role] = f"{f'_acq-{plain[role]}' if twice else ''}{entity}_{suffix}"
        else:
            stems[role] = f"_desc-{plain[role]}_mri"
    return stems


def _write_series(root: Path, whose: tuple[str, str], stem: str, row: dict[str, Any], rule: dict[str, Any]) -> None:
    kind = rule["kind"]
    volume = read_volume(row["path"], kind, rule.get("threshold"))
    if volume.array.ndim != 3:
        raise ScanError("colour images have no place in BIDS")
    if kind == "label":
        stem += "mask" if volume.array.max() <= 1 else "dseg"
    raw = kind == "intensity" and "_desc-" not in stem
    who, when = whose
    folder = (root if raw else root / DERIVATIVES) / who / when / "anat"
    name = "_".join(part for part in whose if part) + stem
    write_nifti(volume, folder / f"{name}.nii.gz")
    write_json(folder / f"{name}.json", sidecar(row) if kind == "intensity" else {"Type": "Lesion"})


def sidecar(row: Mapping[str, Any]) -> dict[str, Any]:
    """Acquisition parameters of a row of the index under BIDS's names and in its units."""
    found: dict[str, Any] = {}
    for keyword, (key, factor) in _SIDECAR.items():
        text = str(row.get(keyword) or "").strip()
        try:
            value: Any = text if factor is None else round(float(text) * factor, 9)
        except ValueError:
            continue
        if text:
            found[key] = value
    image_type = str(row.get("ImageType") or "")
    return found | ({"ImageType": image_type.split("\\")} if image_type else {})


def _write_tables(
    root: Path, cohort: pd.DataFrame, labels: pd.DataFrame, subjects: Mapping[str, str], study: dict[str, Any]
) -> None:
    first = cohort.drop_duplicates("patient_id").set_index("patient_id")
    table = pd.DataFrame({"participant_id": [f"sub-{subjects[p]}" for p in first.index]}, index=first.index)
    if first["site"].notna().any():
        table["site"] = first["site"]
    for column in (c for c in first.columns if c.startswith("clinical:")):
        table[column.removeprefix("clinical:")] = pd.to_numeric(first[column])
    described: dict[str, Any] = {}
    for target, rule in study["targets"].items():
        mine = labels[labels["target"] == target]
        for side in SIDES if mine["side"].isin(SIDES).any() else ("",):
            name, own = output_name(target, side), mine[mine["side"].fillna("") == side].set_index("patient_id")
            values = own["label"] if rule["classes"] else own["value"].astype("Int64").astype(object)
            table[name] = values.reindex(first.index)
            column = {"L": rule["left"], "R": rule["right"]}.get(side) or rule["column"] or target
            described[name] = {"Description": f"column {column} of the label table", "Levels": _levels(rule)}
    path = root / "participants.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    harmless_table(table).to_csv(path, sep="\t", index=False, na_rep="n/a")
    write_json(root / "participants.json", described)
    by = {"Name": "scan2gene", "Version": __version__}
    about = {"Name": study["name"], "BIDSVersion": BIDS_VERSION, "DatasetType": "raw", "GeneratedBy": [by]}
    if study["licences"]:
        about["License"] = "; ".join(study["licences"])
    write_json(root / "dataset_description.json", about)
    write_text(
        root / "README", f"{study['name']}\n\n{study['question']}\n\nThe series that scan2gene chose for a study.\n"
    )
    if (root / DERIVATIVES).exists():
        write_json(root / DERIVATIVES / "dataset_description.json", about | {"DatasetType": "derivative"})


def _levels(rule: Mapping[str, Any]) -> dict[str, str]:
    """What the values of a target's column mean."""
    if rule["above"] is not None:
        return {"1": f"above {rule['above']:g}", "0": f"not above {rule['above']:g}"}
    cells = rule["classes"] or {"1": rule["positive"], "0": rule["negative"]}
    return {level: ", ".join(map(str, values)) for level, values in cells.items()}
