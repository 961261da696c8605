"""The store: done once, done right, and one bad exam harms no other."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from small_recipe import AFFINE, RECIPE, ROLES

from scan2gene.core.errors import RunError
from scan2gene.core.files import file_hash
from scan2gene.core.section import Plugin
from scan2gene.core.study_cohort import Role
from scan2gene.core.tables import read_csv
from scan2gene.imaging.nifti import read_nifti
from scan2gene.preprocess import recipe
from scan2gene.preprocess.preview import write_previews
from scan2gene.preprocess.recipe import apply_recipe
from scan2gene.preprocess.store import MANIFEST_COLUMNS, build_store
from scan2gene.stages.preprocess import cut_off


def save(path, array) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, AFFINE), path)
    return str(path)


class Cohort:
    """Three exams on disk, their table and paths."""

    def __init__(self, folder):
        rng = np.random.default_rng(0)
        self.store, self.paths, rows = folder / "store", {}, []
        for patient in ("P1", "P/2", "P3"):
            here = folder / "scans" / patient.replace("/", "")
            inside = np.zeros((16, 15, 14), np.uint8)
            inside[4:12, 5:11, 3:9] = 1
            row = {"patient_id": patient, "exam_id": f"exam-{patient}"}
            for role, array in (
                ("t1", rng.normal(100, 9, inside.shape).astype(np.float32) + 200 * inside),
                ("flair", rng.normal(50, 5, inside.shape).astype(np.float32) + 99 * inside),
                ("mask", inside),
            ):
                path = save(here / f"{role}.nii", array)
                row[f"role:{role}"] = path
                self.paths[path] = path
            rows.append(row)
        self.exams = pd.DataFrame(rows)

    def build(self, recipe=RECIPE, roles=ROLES) -> pd.DataFrame:
        return build_store(self.store, self.exams, self.paths, roles, recipe)

    def files(self) -> dict[str, int]:
        return {p.name: p.stat().st_mtime_ns for p in self.store.glob("[!.]*.nii")}


@pytest.fixture
def cohort(tmp_path):
    return Cohort(tmp_path)


def test_every_role_of_every_exam_is_stored_as_the_manifest_says(cohort):
    manifest = cohort.build()
    assert tuple(manifest.columns) == MANIFEST_COLUMNS
    assert manifest[["patient_id", "role"]].to_numpy().tolist() == [
        [p, r] for p in ("P1", "P/2", "P3") for r in ("t1", "flair", "mask")
    ]
    assert set(manifest["status"]) == {"ok"}
    for row in manifest.itertuples():
        image = nib.load(cohort.store / row.file)
        assert row.shape == "x".join(map(str, image.shape)) == "8x8x6"
        assert row.dtype == image.get_data_dtype().name == "uint8"
        assert row.spacing_mm == "x".join(f"{v:g}" for v in image.header.get_zooms())
        assert row.checksum == file_hash(cohort.store / row.file)
    pd.testing.assert_frame_equal(read_csv(cohort.store / "manifest.csv").fillna(""), manifest, check_dtype=False)


def test_the_stored_volume_is_the_recipe_applied(cohort):
    manifest = cohort.build().set_index(["patient_id", "role"])
    volumes = {r: read_nifti(cohort.store.parent / "scans" / "P3" / f"{r}.nii", ROLES[r].kind) for r in ROLES}
    for role, expected in apply_recipe(volumes, RECIPE).items():
        stored = nib.load(cohort.store / manifest.loc[("P3", role), "file"])
        np.testing.assert_array_equal(np.asarray(stored.dataobj), expected.array)
        np.testing.assert_allclose(stored.affine, expected.affine, atol=1e-5)


def test_the_share_of_the_body_that_a_grid_cuts_off_is_noted_and_warned_of(cohort):
    """Bodies of 10 x 12 x 10 voxels in noise; a grid of 8 voxels along i keeps 8 of 10."""
    rng = np.random.default_rng(2)
    for patient in ("P1", "P2", "P3"):
        array = rng.normal(20, 3, (16, 15, 14)).astype(np.float32)
        array[3:13, 1:13, 2:12] += 400
        save(cohort.store.parent / "scans" / patient / "t1.nii", array)
    roles = {"t1": ROLES["t1"]}
    for steps in ([], [Plugin(name="remove_background")], [Plugin(name="resample", options={"spacing_mm": [1, 1, 2]})]):
        recipe = [*steps, Plugin(name="crop_or_pad", options={"shape": [8, 16, 16]})]
        manifest = cohort.build(recipe, roles)
        assert manifest["note"].str.extract(r"(\d+\.\d) % of the body").astype(float)[0].between(19, 21).all()
        assert all(word in cut_off(manifest, recipe) for word in ("3 of 3", "20 %", "[8, 16, 16]"))
    whole = cohort.build([Plugin(name="crop_or_pad", options={"shape": [10, 16, 16]})], roles)
    assert (whole["note"] == "").all() and cut_off(whole, recipe) == ""


def test_a_second_build_recomputes_nothing(cohort):
    first = cohort.build()
    before = cohort.files()
    second = cohort.build()
    assert len(before) == 9
    assert cohort.files() == before
    pd.testing.assert_frame_equal(first, second)


def test_a_lost_volume_is_made_again_and_its_neighbours_are_not_touched(cohort):
    cohort.build()
    before = cohort.files()
    lost = next(name for name in before if name.startswith("P3_t1"))
    (cohort.store / lost).unlink()
    cohort.build()
    after = cohort.files()
    assert set(after) == set(before)
    assert {n for n in after if after[n] != before[n]} == {n for n in before if n.startswith("P3_")}


def test_a_changed_scan_is_never_taken_for_the_old(cohort):
    old = cohort.build().set_index(["patient_id", "role"])["file"]
    save(cohort.store.parent / "scans" / "P1" / "t1.nii", np.random.default_rng(9).random((16, 15, 14)))
    new = cohort.build().set_index(["patient_id", "role"])["file"]
    changed = {patient for patient, role in old.index[old != new]}
    assert changed == {"P1"}


def test_a_role_that_becomes_a_mask_is_never_taken_for_the_image(cohort):
    as_image = {**ROLES, "mask": Role(match={"path": "mask"})}
    recipe = [Plugin(name="resize", options={"shape": [5, 5, 5]})]
    blurred = cohort.build(recipe, as_image).set_index(["patient_id", "role"])
    crisp = cohort.build(recipe, ROLES).set_index(["patient_id", "role"])
    assert blurred.loc[("P1", "mask"), "dtype"] == "float32"
    assert crisp.loc[("P1", "mask"), "dtype"] == "uint8"
    values = np.asarray(nib.load(cohort.store / crisp.loc[("P1", "mask"), "file"]).dataobj)
    assert set(np.unique(values)) == {0, 1}


def test_a_changed_option_makes_new_files(cohort):
    old = set(cohort.build()["file"])
    new = set(cohort.build([*RECIPE[:2], Plugin(name="resize", options={"shape": [8, 8, 7]})])["file"])
    assert not old & new


def broken(how: str, path) -> str:
    if how == "cut":
        path.write_bytes(path.read_bytes()[:900])
    elif how == "gone":
        path.unlink()
    elif how == "constant":
        save(path, np.full((16, 15, 14), 7, np.float32))
    elif how == "nan":
        save(path, np.full((16, 15, 14), np.nan, np.float32))
    elif how == "4D":
        save(path, np.ones((4, 4, 4, 2), np.float32))
    return how


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "cut short"),
        ("gone", "there is no"),
        ("constant", "t1: every voxel has the same value"),
        ("nan", "not finite"),
        ("4D", "a 4D file of 2 volumes"),
    ],
)
def test_a_bad_scan_fails_its_exam_with_the_reason_and_no_other(cohort, how, words):
    broken(how, cohort.store.parent / "scans" / "P1" / "t1.nii")
    manifest = cohort.build()
    bad = manifest[manifest["patient_id"] == "P1"]
    assert set(bad["status"]) == {"failed"}
    assert bad["reason"].str.contains(words).all()
    assert sorted(bad["role"]) == sorted(ROLES)
    rest = manifest[manifest["patient_id"] != "P1"]
    assert set(rest["status"]) == {"ok"}
    assert len(rest) == 6
    assert not list(cohort.store.glob("P1_*"))
    assert not list(cohort.store.glob(".tmp-*"))


def test_a_step_that_cannot_be_done_fails_only_that_exam(cohort):
    save(cohort.store.parent / "scans" / "P2" / "mask.nii", np.zeros((16, 15, 14), np.uint8))
    manifest = cohort.build().set_index("patient_id")
    assert set(manifest.loc["P/2", "reason"]) == {"the mask is empty, so there is nothing to crop to"}
    assert set(manifest.loc[["P1", "P3"], "status"]) == {"ok"}


@pytest.mark.parametrize("how", ["cut", "constant"])
def test_a_bad_optional_role_leaves_the_rest_of_its_exam(cohort, how):
    broken(how, cohort.store.parent / "scans" / "P1" / "flair.nii")
    manifest = cohort.build().set_index(["patient_id", "role"])
    assert manifest.loc["P1", "status"].to_dict() == {"t1": "ok", "mask": "ok", "flair": "failed"}
    assert manifest.loc[("P1", "flair"), "reason"]
    assert (manifest[manifest.index.get_level_values(0) != "P1"]["status"] == "ok").all()


@pytest.mark.parametrize("absent", [None, float("nan")])
def test_an_optional_role_that_an_exam_never_had_has_no_row(cohort, absent):
    cohort.exams["role:flair"] = cohort.exams["role:flair"].astype(object)
    cohort.exams.loc[0, "role:flair"] = absent
    manifest = cohort.build()
    assert manifest[manifest["patient_id"] == "P1"]["role"].tolist() == ["t1", "mask"]
    assert (manifest["status"] == "ok").all()


DYING = """
import os, pickle, signal, sys
import nibabel as nib
from scan2gene.preprocess import store

save, saved = nib.save, []

def dying(image, path):
    save(image, path)
    saved.append(path)
    if len(saved) == 5:
        os.truncate(path, 400)
        os.kill(os.getpid(), signal.SIGKILL)

nib.save, store.cpus = dying, lambda: 1
store.build_store(*pickle.load(open(sys.argv[1], "rb")))
"""


def test_a_build_that_is_killed_goes_on_where_it_stopped(cohort, tmp_path):
    job = tmp_path / "job.pickle"
    job.write_bytes(pickle.dumps((cohort.store, cohort.exams, cohort.paths, ROLES, RECIPE)))
    child = subprocess.run([sys.executable, "-c", DYING, str(job)], check=False, capture_output=True)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()
    before = cohort.files()
    assert sorted(name.rpartition("_")[0] for name in before) == ["P-2_t1", "P1_flair", "P1_mask", "P1_t1"]
    assert len(list(cohort.store.glob(".tmp-*"))) == 1
    assert not (cohort.store / "manifest.csv").exists()

    manifest = cohort.build()
    after = cohort.files()
    assert (manifest["status"] == "ok").all()
    assert len(after) == 9
    assert not list(cohort.store.glob(".tmp-*"))
    assert all(after[name] == before[name] for name in before if name.startswith("P1_"))


def test_bytes_stay_bytes_and_other_numbers_become_float32(cohort):
    kept = cohort.build([Plugin(name="min_max_uint8")]).set_index("role")["dtype"]
    assert set(kept["t1"]) == set(kept["mask"]) == {"uint8"}
    scored = cohort.build([Plugin(name="zscore")]).set_index("role")["dtype"]
    assert set(scored["t1"]) == {"float32"}
    assert set(scored["mask"]) == {"uint8"}


def test_the_store_is_uncompressed_and_can_be_mapped_into_memory(cohort):
    name = cohort.build().loc[0, "file"]
    image = nib.load(cohort.store / name)
    assert name.endswith(".nii")
    assert isinstance(image.dataobj.get_unscaled(), np.memmap)


def test_names_that_look_alike_do_not_share_a_file(cohort):
    cohort.exams.loc[0, "patient_id"], cohort.exams.loc[1, "patient_id"] = "P 1", "P/1"
    manifest = cohort.build()
    assert manifest["file"].is_unique
    assert (manifest["status"] == "ok").all()


def test_a_hash_sign_in_a_scans_path_is_no_obstacle(tmp_path):
    cohort = Cohort(tmp_path / "exams #1")
    assert (cohort.build()["status"] == "ok").all()


def test_a_volume_that_cannot_be_written_stops_the_build_in_words(cohort, monkeypatch):
    def full(image, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(RunError, match=r"cannot be written to .*No space left on device.*make room"):
        cohort.build()
    assert not (cohort.store / "manifest.csv").exists()


def test_an_exam_that_needs_too_much_memory_is_set_aside(cohort, monkeypatch):
    def hungry(volume, *, axes="LAS"):
        if volume.array.max() == 7777:
            raise MemoryError
        return volume

    save(cohort.store.parent / "scans" / "P1" / "t1.nii", np.full((9, 9, 9), 7777) - np.eye(9)[:, :, None])
    monkeypatch.setitem(recipe.STEPS, "reorient", hungry)
    monkeypatch.setattr(sys.modules[hungry.__module__], "VERSION", 1, raising=False)
    manifest = cohort.build([Plugin(name="reorient")]).set_index("patient_id")
    assert set(manifest.loc["P1", "reason"]) == {"MemoryError: "}
    assert set(manifest.loc[["P/2", "P3"], "status"]) == {"ok"}


def test_previews_are_three_pictures_without_a_name(cohort):
    twice = pd.concat([cohort.exams, cohort.exams], ignore_index=True)
    cohort.exams = twice.assign(patient_id=[f"SECRET{k}" for k in range(6)], exam_id=[f"e{k}" for k in range(6)])
    broken("constant", cohort.store.parent / "scans" / "P1" / "t1.nii")
    manifest = cohort.build()
    written = write_previews(cohort.store, manifest, cohort.exams, cohort.paths, ["t1", "flair"])
    assert [p.name for p in written] == ["1.png", "2.png", "3.png"]
    for path in written:
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG\r\n")
        assert b"SECRET" not in content
    assert len({p.read_bytes() for p in written}) == 2  # the first and the third show one patient's scans


def test_a_mask_without_a_mark_is_noted(cohort):
    mask = cohort.store.parent / "scans" / "P3" / "mask.nii"
    save(mask, np.zeros((16, 15, 14), np.uint8))
    recipe = [Plugin(name="min_max_uint8"), Plugin(name="resize", options={"shape": [8, 8, 6]})]
    notes = cohort.build(recipe).set_index(["patient_id", "role"])["note"]
    assert "mask: no voxel is marked" in notes["P3", "mask"]
    assert not notes["P1", "mask"]


def test_marks_lost_on_the_way_are_noted(cohort):
    mask = np.zeros((16, 15, 14), np.uint8)
    mask[0, 0, 0] = 1
    save(cohort.store.parent / "scans" / "P3" / "mask.nii", mask)
    notes = cohort.build([Plugin(name="crop_or_pad", options={"shape": [8, 8, 6]})]).set_index("patient_id")["note"]
    assert all("prepared grid" in note for note in notes["P3"])
    assert not any("marked" in note for note in notes["P1"])


def test_a_soft_mask_fails_its_exam_unless_a_threshold_is_stated(cohort):
    for patient in ("P1", "P2", "P3"):
        file = cohort.store.parent / "scans" / patient / "mask.nii"
        save(file, (nib.load(file).get_fdata() * 0.45).astype(np.float32))
    manifest = cohort.build()
    assert set(manifest["status"]) == {"failed"}
    assert manifest["reason"].str.contains("whole").all()
    at = {"t1": ROLES["t1"], "flair": ROLES["flair"], "mask": Role(match={}, kind="label", threshold=0.4)}
    assert set(cohort.build(roles=at)["status"]) == {"ok"}
    with pytest.raises(ValueError, match="threshold"):
        Role(match={}, threshold=0.4)
