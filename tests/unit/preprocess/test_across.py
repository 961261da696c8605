"""Two cohorts that share people: by id, or by an image that was saved again."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter

from scan2gene.commands.external import _of_both
from scan2gene.core.files import file_hash
from scan2gene.preprocess.prints import twins_across


def _store(folder: Path, volumes: dict[str, np.ndarray]) -> tuple[Path, pd.DataFrame]:
    folder.mkdir()
    rows = []
    for patient, array in volumes.items():
        nib.save(nib.Nifti1Image(array.astype(np.float32), np.eye(4)), folder / f"{patient}.nii")
        rows.append({"patient_id": patient, "exam_id": patient, "role": "t1", "file": f"{patient}.nii", "status": "ok",
                     "checksum": file_hash(folder / f"{patient}.nii")})  # fmt: skip
    return folder, pd.DataFrame(rows)


def test_an_image_that_was_saved_again_under_another_name_is_found(tmp_path):
    rng = np.random.default_rng(0)
    images = [gaussian_filter(rng.normal(size=(20, 20, 16)), 2) for _ in range(14)]
    ours = _store(tmp_path / "ours", {f"P{n}": images[n] for n in range(7)})
    again = {"Q6": np.clip(3 * images[3] + 50, 49, None)}  # another window
    theirs = _store(tmp_path / "theirs", {f"Q{n}": images[7 + n] for n in range(6)} | again)
    pairs = twins_across([ours, theirs], ["t1"], [tmp_path / "a.npz", tmp_path / "b.npz"])
    first = pairs.iloc[0]
    assert {first["one"], first["two"]} == {"0/P3", "1/Q6"}
    assert first["likeness"] > 0.87 > pairs["likeness"].iloc[1]


def test_equal_ids_are_left_out_unless_they_are_said_to_be_other_people(tmp_path):
    ours, theirs = (pd.DataFrame({"patient_id": ids}) for ids in (["P1", "P2"], ["P2", "P3"]))
    applied = SimpleNamespace(predictions=pd.DataFrame({"run_id": []}))
    given = (tmp_path, SimpleNamespace(runs=[]), tmp_path, applied, ours, SimpleNamespace(cohort=theirs))
    lost, notes = _of_both(*given, False)
    assert lost == {"P2"}
    assert notes[0].startswith("1 patients have ids of the run's own cohort and are left out")
    assert _of_both(*given, True) == (set(), [])
