"""The store: each exam's model-ready volumes as uncompressed NIfTI, and a manifest.

File names carry the hash of recipe, step code and source, so an unchanged volume is never
computed twice, a changed one never taken for the old, and a killed run goes on.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core import geometry
from scan2gene.core.console import track
from scan2gene.core.errors import Scan2GeneError, ScanError, StudyError
from scan2gene.core.files import value_hash
from scan2gene.core.study import Plugin, Role, unknown_name
from scan2gene.core.tables import write_csv
from scan2gene.core.volume import Volume
from scan2gene.imaging import dicom, nifti
from scan2gene.imaging.index import fingerprint, read_volume, split_row_path
from scan2gene.preprocess import GEOMETRIC, STEPS, spline

MANIFEST_COLUMNS = (
    "patient_id", "exam_id", "role", "file", "shape", "spacing_mm", "dtype", "status", "reason",
)  # fmt: skip


# All code that decides a stored voxel. Read once: a file that is edited while a study runs
# must not rename that study's store.
_CODE = value_hash(
    [inspect.getsource(sys.modules[m]) for m in sorted({step.__module__ for step in STEPS.values()})]
    + [inspect.getsource(module) for module in (dicom, geometry, nifti, spline)]
)


def check_recipe(recipe: Sequence[Plugin], roles: Mapping[str, Role]) -> None:
    """Refuse unknown steps, options and mask roles before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    for step in recipe:
        if step.name not in STEPS:
            raise StudyError(f"preprocess step {unknown_name(step.name, STEPS)}")
        parameters = inspect.signature(STEPS[step.name]).parameters
        options = [p for p in parameters if p != "volume"]
        for option in step.options:
            if option not in options:
                raise StudyError(f"preprocess step {step.name}: option {unknown_name(option, options)}")
        missing = [o for o in options if parameters[o].default is inspect.Parameter.empty and o not in step.options]
        if missing:
            raise StudyError(f"preprocess step {step.name} needs the option {missing[0]!r}")
        if "mask" in options and step.options["mask"] not in roles:
            raise StudyError(f"preprocess step {step.name}: role {unknown_name(str(step.options['mask']), roles)}")


def recipe_hash(recipe: Sequence[Plugin]) -> str:
    """Hash of a step list: names, options and the code that moves voxels."""
    return value_hash([_CODE, [(s.name, s.options) for s in recipe]])[:8]


def apply_recipe(volumes: Mapping[str, Volume], recipe: Sequence[Plugin]) -> dict[str, Volume]:
    """Run every step on every volume of one exam.

    Args:
        volumes: Role -> volume. Masks take part in geometric steps only.
        recipe: Steps in order; an option `mask` names a role.

    Raises:
        ScanError, GeometryError: A step cannot be done on this exam.
    """
    current = dict(volumes)
    for step in recipe:
        options = dict(step.options)
        if "mask" in options:
            if options["mask"] not in current:
                raise ScanError(f"{step.name} needs the role {options['mask']!r}, which this exam lacks")
            options["mask"] = current[options["mask"]]
        for role, volume in current.items():
            if volume.array.ndim == 4 and step.name != "first_channel":
                raise ScanError(f"{role} is a colour image; put the step first_channel before {step.name}")
            if volume.kind == "intensity" or step.name in GEOMETRIC:
                current[role] = STEPS[step.name](volume, **options)
    return current


def build_store(
    folder: Path, exams: pd.DataFrame, paths: Mapping[str, str], roles: Mapping[str, Role], recipe: Sequence[Plugin],
    hide: Callable[[str], str] = str,
) -> pd.DataFrame:  # fmt: skip
    """Preprocess every exam that is not in the store yet; write `folder/manifest.csv`.

    Args:
        folder: The store of this recipe.
        exams: cohort.csv's rows.
        paths: series_id -> path.
        roles: The study's roles.
        recipe: Steps in order.
        hide: Takes out of a reason what the study does not show.

    Returns:
        The manifest, one row per exam and role; a volume that could not be made has
        status "failed" and its reason.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe_id = recipe_hash(recipe)
    for leftover in folder.glob(".tmp-*"):  # of a run that was killed
        leftover.unlink(missing_ok=True)

    def work(exam: Any) -> list[dict[str, Any]]:
        return _one_exam(folder, exam, paths, roles, recipe, recipe_id)

    rows: list[dict[str, Any]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for made in track(pool.map(work, exams.to_dict("records")), "preprocess", len(exams)):
            rows += made
    manifest = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    manifest["reason"] = manifest["reason"].map(hide)
    write_csv(folder / "manifest.csv", manifest)
    return manifest


def _one_exam(
    folder: Path,
    exam: Mapping[str, Any],
    paths: Mapping[str, str],
    roles: Mapping[str, Role],
    recipe: Sequence[Plugin],
    recipe_id: str,
) -> list[dict[str, Any]]:
    base = {"patient_id": exam["patient_id"], "exam_id": exam["exam_id"]}
    sources = {r: paths[exam[f"role:{r}"]] for r in roles if isinstance(exam[f"role:{r}"], str)}
    try:
        evidence = [(r, roles[r].kind, fingerprint([split_row_path(p)[0]])) for r, p in sources.items()]
        key = value_hash([recipe_id, evidence])[:8]
        files = {r: folder / f"{_slug(exam['patient_id'])}_{r}_{key}.nii" for r in sources}
        if all(_is_whole(f) for f in files.values()):
            return [base | _described(role, file) for role, file in files.items()]
        volumes, lost = _read_roles(sources, roles)
        for role, volume in apply_recipe(volumes, recipe).items():
            stored = volume if volume.array.dtype == np.uint8 else volume.with_array(volume.array.astype(np.float32))
            nifti.write_nifti(stored, files[role])
        rows = [base | _described(role, files[role]) for role in volumes]
        return rows + [base | {"role": r, "status": "failed", "reason": why} for r, why in lost.items()]
    except Exception as error:  # one bad exam never stops a cohort
        reason = str(error) if isinstance(error, Scan2GeneError) else f"{type(error).__name__}: {error}"
        return [base | {"role": role, "status": "failed", "reason": reason} for role in sources]


def _read_roles(sources: Mapping[str, str], roles: Mapping[str, Role]) -> tuple[dict[str, Volume], dict[str, str]]:
    """Volumes by role, and why an optional one could not be had."""
    volumes, lost = {}, {}
    for role, path in sources.items():
        try:
            volume = read_volume(path, roles[role].kind)
            if not np.isfinite(volume.array).all():
                raise ScanError(f"{role}: voxels that are not finite numbers")
            if volume.kind == "intensity" and volume.array.min() == volume.array.max():
                raise ScanError(f"{role}: every voxel has the same value")
            volumes[role] = volume
        except Scan2GeneError as error:
            if not roles[role].optional:
                raise
            lost[role] = str(error)
    return volumes, lost


def _described(role: str, file: Path) -> dict[str, Any]:
    import nibabel as nib

    header: Any = nib.load(file).header
    return {
        "role": role,
        "file": file.name,
        "shape": "x".join(str(n) for n in header.get_data_shape()),
        "spacing_mm": "x".join(f"{v:g}" for v in header.get_zooms()),
        "dtype": str(header.get_data_dtype()),
        "status": "ok",
        "reason": "",
    }


def _is_whole(file: Path) -> bool:
    """True when a stored volume has as many bytes as its header says."""
    import nibabel as nib

    try:
        data: Any = nib.load(file).dataobj
        return file.stat().st_size == data.offset + int(np.prod(data.shape)) * data.dtype.itemsize
    except Exception:  # missing, or too short for a header
        return False


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "-", text)
