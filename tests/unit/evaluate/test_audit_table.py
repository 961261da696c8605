"""Anybody's split or score table: what leaks is found, what cannot be told is said."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from typer.testing import CliRunner

from scan2gene.cli import app
from scan2gene.commands.audit import audit, split_of, table_checks
from scan2gene.core.errors import RunError


def _table(n: int = 20) -> pd.DataFrame:
    parts = ["train"] * (n - 8) + ["val"] * 4 + ["test"] * 4
    return pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "part": parts})


def _found(folder, table: pd.DataFrame) -> dict[str, str]:
    table.to_csv(folder / "split.csv", index=False)
    return {check.name: check.status for check in table_checks(folder / "split.csv")}


def test_a_clean_split_is_clean_and_images_are_not_told(tmp_path):
    assert _found(tmp_path, _table()) == {
        "patients": "clean", "studies and files": "clean", "images": "unknown", "visits and copies": "clean",
    }  # fmt: skip


def test_slices_of_a_patient_in_two_parts_are_a_leak(tmp_path):
    slices = pd.concat([_table().assign(slice=n) for n in range(3)])
    assert _found(tmp_path, slices)["patients"] == "clean"
    slices.iloc[5, slices.columns.get_loc("part")] = "test"
    assert _found(tmp_path, slices)["patients"] == "found"
    assert any("LEAK" in line and "1 of 20 patients" in line for line in audit(tmp_path / "split.csv"))


def test_strict_exits_with_a_status_where_something_leaks(tmp_path):
    table = _table()
    for leak in (False, True):
        if leak:
            table = pd.concat([table, table.head(1).assign(part="test")])
        table.to_csv(tmp_path / "split.csv", index=False)
        for options, status in (([], 0), (["--strict"], int(leak))):
            done = CliRunner().invoke(app, ["audit", str(tmp_path / "split.csv"), *options])
            assert done.exit_code == status
            assert ("LEAK" in done.output) == leak


@pytest.mark.parametrize("twin", ["Ju\u0308rgen", "J\u00fcrgen\u200b", "J\u00fcrgen\u00a0"])
def test_an_id_that_is_encoded_in_two_ways_is_one_patient(tmp_path, twin):
    table = pd.concat([_table(), pd.DataFrame({"patient_id": ["J\u00fcrgen", twin], "part": ["train", "test"]})])
    assert _found(tmp_path, table)["patients"] == "found"


def test_a_series_of_two_patients_and_two_visits_are_found(tmp_path):
    uids = _table().assign(SeriesInstanceUID=[f"1.2.{n}" for n in range(20)])
    assert _found(tmp_path, uids)["studies and files"] == "clean"
    uids.loc[19, "SeriesInstanceUID"] = "1.2.0"
    assert _found(tmp_path, uids)["studies and files"] == "found"
    visits = _table()
    visits.loc[[0, 19], "patient_id"] = ["P900_visit1", "P900_visit2"]
    assert _found(tmp_path, visits)["visits and copies"] == "found"


def test_folds_are_parts(tmp_path):
    table = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(12)], "fold": [str(n % 3) for n in range(12)]})
    split = split_of(table, "split.csv")
    assert split.groupby("fold")["part"].value_counts()["0"].to_dict() == {"train": 8, "test": 4}
    assert _found(tmp_path, table)["patients"] == "clean"
    twice = pd.concat([table, table.iloc[[0]].assign(fold="2")])
    assert _found(tmp_path, twice)["patients"] == "found"


def test_a_cropped_copy_among_the_named_images_is_found(tmp_path):
    rng = np.random.default_rng(0)
    table = _table(12)
    images = [gaussian_filter(rng.normal(size=(40, 40, 24)), 1.5).astype(np.float32) for _ in range(11)]
    images.append(np.clip(images[0][1:, 1:-1], -0.1, 0.2))
    for n, image in enumerate(images):
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"{n}.nii.gz")
    table["path"] = [f"{n}.nii.gz" for n in range(12)]
    (found,) = [c for c in table_checks(_written(tmp_path, table)) if c.name == "images"]
    assert {(c["one"], c["two"]) for c in found.cases} == {("P000", "P011")}
    table["path"] = "absent.nii.gz"
    assert {c.name: c.status for c in table_checks(_written(tmp_path, table))}["images"] == "unknown"


def _written(folder, table):
    table.to_csv(folder / "images.csv", index=False)
    return folder / "images.csv"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pd.DataFrame({"patient_id": ["a"]}), "part (train, validation, test) or fold"),
        (pd.DataFrame({"patient_id": ["a"], "part": ["trian"]}), "'trian' is unknown"),
    ],
)
def test_what_is_no_split_is_refused(tmp_path, table, said):
    with pytest.raises(RunError, match=said.replace("(", r"\(").replace(")", r"\)")):
        _found(tmp_path, table)


def test_a_run_that_was_not_audited_says_how(tmp_path):
    with pytest.raises(RunError, match="not audited yet"):
        audit(tmp_path)
