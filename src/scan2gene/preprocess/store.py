"""The store: each exam's model-ready volumes as uncompressed NIfTI, and a manifest.

File names carry the hash of recipe, step code and source, so an unchanged volume is never
computed twice, a changed one never taken for the old, and a killed run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.console import track
from scan2gene.core.errors import RunError, Scan2GeneError, ScanError
from scan2gene.core.files import atomic_path, file_hash, value_hash
from scan2gene.core.machine import cpus
from scan2gene.core.rundir import StoreDirectory
from scan2gene.core.section import Plugin
from scan2gene.core.study_cohort import Role
from scan2gene.core.text import slug
from scan2gene.core.volume import Volume
from scan2gene.imaging import nifti
from scan2gene.imaging.index import fingerprint, read_volume
from scan2gene.preprocess.notes import SEPARATOR, collected, note
from scan2gene.preprocess.recipe import apply_recipe, recipe_hash

MANIFEST_COLUMNS = (
    "patient_id", "exam_id", "role", "file", "shape", "spacing_mm", "dtype", "checksum", "status", "reason",
    "note",
)  # fmt: skip
NO_MARK = "no voxel is marked"  # of a note about a mask
_COMMENT = 6  # code of a NIfTI header extension that is plain text


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

    Raises:
        RunError: A volume cannot be written, as on a full disk. What is written stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recipe_id = recipe_hash(recipe)
    for leftover in folder.glob(".tmp-*"):  # of a run that was killed
        leftover.unlink(missing_ok=True)
    checksums = _known_checksums(folder)

    def work(exam: Any) -> list[dict[str, Any]]:
        return _one_exam(folder, exam, paths, roles, recipe, recipe_id, checksums)

    rows: list[dict[str, Any]] = []
    pool = ThreadPoolExecutor(cpus())
    try:
        for made in track(pool.map(work, exams.to_dict("records")), "preprocess", len(exams)):
            rows += made
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C and a full disk wait for the exams under work, not for all
    manifest = pd.DataFrame(rows, columns=list(MANIFEST_COLUMNS))
    manifest["reason"] = manifest["reason"].map(hide)
    StoreDirectory(folder).manifest.write(manifest)
    return manifest


def _known_checksums(folder: Path) -> dict[str, str]:
    """Checksums by file name, as written; a file that was damaged since must not pass for whole."""
    try:
        table = StoreDirectory(folder).manifest.read()
    except RunError:  # none yet, or of an older version
        return {}
    return dict(table.loc[table["status"] == "ok", ["file", "checksum"]].itertuples(index=False, name=None))


def _one_exam(
    folder: Path,
    exam: Mapping[str, Any],
    paths: Mapping[str, str],
    roles: Mapping[str, Role],
    recipe: Sequence[Plugin],
    recipe_id: str,
    checksums: Mapping[str, str],
) -> list[dict[str, Any]]:
    base = {"patient_id": exam["patient_id"], "exam_id": exam["exam_id"]}
    sources = {r: paths[exam[f"role:{r}"]] for r in roles if isinstance(exam[f"role:{r}"], str)}
    try:
        evidence = [(r, roles[r].kind, roles[r].threshold, fingerprint([p])) for r, p in sources.items()]
        key = value_hash([recipe_id, evidence])[:8]
        files = {r: folder / f"{slug(exam['patient_id'])}_{r}_{key}.nii" for r in sources}
        if all(is_whole(f) for f in files.values()):
            return [base | _described(role, f, checksums.get(f.name)) for role, f in files.items()]
        lost: dict[str, str] = {}
        optional = [r for r in sources if roles[r].optional]
        with collected() as notes:  # no name holds the scans meanwhile
            prepared = apply_recipe(read_roles(sources, roles, lost), recipe, optional, lost)
            _note_lost_marks(prepared)
        for role, volume in prepared.items():
            _write(volume, files[role], SEPARATOR.join(notes))
        rows = [base | _described(role, files[role]) for role in prepared]
        return rows + [base | {"role": r, "status": "failed", "reason": why} for r, why in lost.items()]
    except RunError:  # no fault of this exam, and no other would fare better
        raise
    except Exception as error:  # one bad exam never stops a cohort
        reason = str(error) if isinstance(error, Scan2GeneError) else f"{type(error).__name__}: {error}"
        return [base | {"role": role, "status": "failed", "reason": reason} for role in sources]


def read_roles(sources: Mapping[str, str], roles: Mapping[str, Role], lost: dict[str, str]) -> dict[str, Volume]:
    """Volumes by role; `lost` is told why an optional one could not be had."""
    volumes = {}
    for role, path in sources.items():
        try:
            volume = read_volume(path, roles[role].kind, roles[role].threshold)
            low, high = float(volume.array.min()), float(volume.array.max())
            if not np.isfinite([low, high]).all():  # a NaN shows in both
                raise ScanError(f"{role}: voxels that are not finite numbers")
            if volume.kind == "intensity" and low == high:
                raise ScanError(f"{role}: every voxel has the same value")
            if volume.kind == "label" and not high:
                note(f"{role}: {NO_MARK} in the file")
            volumes[role] = volume
        except Scan2GeneError as error:
            if not roles[role].optional:
                raise
            lost[role] = str(error)
    return volumes


def _note_lost_marks(prepared: Mapping[str, Volume]) -> None:
    for role, volume in prepared.items():
        if volume.kind == "label" and not volume.array.any():
            note(f"{role}: {NO_MARK} on the prepared grid")


def _write(volume: Volume, file: Path, text: str) -> None:
    stored = volume if volume.array.dtype == np.uint8 else volume.with_array(volume.array.astype(np.float32))
    try:
        if text:
            _write_with_note(stored, file, text)
        else:
            nifti.write_nifti(stored, file)
    except OSError as error:
        raise RunError(
            f"a volume cannot be written to {file.parent}: {error.strerror or error}. What is written so far is whole; "
            "make room, and the same command goes on from here."
        ) from error


def _write_with_note(volume: Volume, file: Path, text: str) -> None:
    """The note lies in the file itself, as a comment: a run that was killed before its manifest still has it."""
    import nibabel as nib

    image = nib.Nifti1Image(volume.array, volume.affine)
    image.header.set_xyzt_units("mm")
    image.header.extensions.append(nib.nifti1.Nifti1Extension(_COMMENT, text.encode()))
    with atomic_path(file) as temporary:
        nib.save(image, temporary)


def _described(role: str, file: Path, checksum: str | None = None) -> dict[str, Any]:
    import nibabel as nib

    header: Any = nib.load(file).header
    return {
        "role": role,
        "file": file.name,
        "shape": "x".join(str(n) for n in header.get_data_shape()),
        "spacing_mm": "x".join(f"{v:g}" for v in header.get_zooms()),
        "dtype": str(header.get_data_dtype()),
        "checksum": checksum or file_hash(file),
        "status": "ok",
        "reason": "",
        "note": SEPARATOR.join(_text(e.get_content()) for e in header.extensions if e.get_code() == _COMMENT),
    }


def _text(content: bytes | str) -> str:
    text = content if isinstance(content, str) else content.decode(errors="replace")
    return text.rstrip("\0")  # an extension is filled up to 16 bytes


def is_whole(file: Path) -> bool:
    """True when a stored volume has as many bytes as its header says."""
    import nibabel as nib

    try:
        data: Any = nib.load(file).dataobj
        return file.stat().st_size == data.offset + int(np.prod(data.shape)) * data.dtype.itemsize
    except Exception:  # missing, or too short for a header
        return False
