"""Skull stripping: by a mask, by programs that are installed, and by the simple rule, which says so."""

from __future__ import annotations

import stat
import sys

import numpy as np
import pandas as pd
import pytest
from heads import brain_of, head

from scan2gene.core.errors import ScanError
from scan2gene.core.section import Plugin
from scan2gene.core.study_cohort import Role
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import index, read_volume
from scan2gene.imaging.nifti import write_nifti
from scan2gene.preprocess import STEPS
from scan2gene.preprocess.notes import collected
from scan2gene.preprocess.recipe import apply_recipe
from scan2gene.preprocess.skull_strip import SIMPLE, simple_brain
from scan2gene.preprocess.store import build_store

skull_strip = STEPS["skull_strip"]
PLANES = {"axial": ((76, 84, 24), (2.6, 2.6, 6.5)), "sagittal": ((24, 84, 76), (6.5, 2.6, 2.6))}
# A stand-in for a program: keeps a ball of 60 mm, in the words of HD-BET and SynthStrip.
PROGRAM = """#!{python}
import sys
import nibabel, numpy
words = dict(zip(sys.argv[1::2], sys.argv[2::2]))
print("Traceback: many lines", file=sys.stderr)
if {fails}:
    sys.exit("no room on " + words["-i"])
image = nibabel.load(words["-i"])
index = numpy.indices(image.shape).reshape(3, -1)
places = nibabel.affines.apply_affine(image.affine, index.T)
inside = (numpy.linalg.norm(places, axis=1) < 60).reshape(image.shape)
if {writes}:
    nibabel.save(nibabel.Nifti1Image(image.get_fdata() * inside, image.affine), words["-o"])
"""


@pytest.fixture
def no_programs(tmp_path, monkeypatch):
    """A PATH without any; `install` puts a stand-in there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def install(name: str, fails: bool = False, writes: bool = True) -> None:
        path = folder / name
        path.write_text(PROGRAM.format(python=sys.executable, fails=fails, writes=writes))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return install


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize(("sequence", "least"), [("t1", 0.98), ("t1c", 0.98), ("flair", 0.98), ("t2", 0.91)])
def test_the_simple_rule_finds_the_brain_of_a_synthetic_head(plane, sequence, least):
    volume = head(sequence, *PLANES[plane])
    assert dice(simple_brain(volume).array > 0, brain_of(volume)) > least  # T2 keeps the bright CSF around it


def test_the_simple_rule_says_so_and_blanks_the_rest(no_programs):
    volume = head("flair", *PLANES["axial"])
    with collected() as notes:
        stripped = skull_strip(volume)
    assert notes == [SIMPLE]
    inside = brain_of(volume)
    kept = stripped.array != 0
    assert dice(kept, inside) > 0.98
    np.testing.assert_array_equal(stripped.array[kept], volume.array[kept])
    low = skull_strip(volume, outside="minimum")
    assert set(np.unique(low.array[~kept])) == {volume.array.min()}


def test_a_real_head_gives_a_brain_of_plausible_size_or_a_reason(shared_data):
    """One exam with 6.5 mm slices: FLAIR and T2 work, and T1 with its bright fat is refused, not cut wrongly."""
    series = index([shared_data / "tcia_brain_tumor_progression_dicom"]).set_index("SeriesDescription")["path"]
    flair = read_volume(series["FLAIR_reg"])
    brain = simple_brain(flair)
    middle = brain.array[90:190, 110:210, 8:16]
    assert middle.mean() > 0.8  # the middle of the head is brain; ventricles that open outwards stay out
    edge = np.concatenate([brain.array[:35, :, 8:16], brain.array[-35:, :, 8:16]])  # lower slices keep some of the ears
    assert edge.mean() < 0.01
    with pytest.raises(ScanError, match=r"found \d+ ml, and a brain has 500 to 2300 .* reference, give a mask"):
        simple_brain(read_volume(series["T1post"]))


def test_no_head_is_refused():
    noise = Volume(np.random.default_rng(0).random((30, 30, 30)).astype(np.float32) * 100, np.diag([3.0, 3, 3, 1]))
    with pytest.raises(ScanError, match="the simple rule found"):
        simple_brain(noise)


def test_a_mask_goes_before_everything(no_programs):
    no_programs("hd-bet")
    volume = head("t1", *PLANES["axial"])
    mask = Volume(brain_of(volume).astype(np.uint8) * 3, volume.affine, "label")
    with collected() as notes:
        stripped = skull_strip(volume, mask=mask)
    assert notes == ["skull_strip: by the mask"]
    np.testing.assert_array_equal(stripped.array, np.where(mask.array > 0, volume.array, 0))
    with pytest.raises(ScanError, match="outside this volume's field, or its mask is empty"):
        skull_strip(volume, mask=mask.with_array(np.zeros_like(mask.array)))
    with pytest.raises(ScanError, match="needs the option mask"):
        skull_strip(volume, method="mask")


@pytest.mark.parametrize(("program", "method"), [("hd-bet", "hd-bet"), ("mri_synthstrip", "synthstrip")])
def test_an_installed_program_is_run(no_programs, program, method):
    no_programs(program)
    volume = head("t1", (40, 44, 24), (5.0, 5.0, 6.5))
    turned = Volume(np.flip(volume.array, 0).copy(), volume.affine @ np.array(
        [[-1, 0, 0, 39], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))  # fmt: skip
    index_mm = np.indices(volume.shape).reshape(3, -1)
    places = (volume.affine[:3, :3] @ index_mm).T + volume.affine[:3, 3]
    ball = (np.linalg.norm(places, axis=1) < 60).reshape(volume.shape)
    for how in ("auto", method):
        with collected() as notes:
            stripped = skull_strip(volume, method=how)
        assert notes == [f"skull_strip: by {method}"]
        np.testing.assert_array_equal(stripped.array != 0, ball & (volume.array != 0))
    np.testing.assert_array_equal(np.flip(skull_strip(turned).array, 0), stripped.array)


def test_a_programs_failure_is_told_in_one_line_without_paths(no_programs, tmp_path):
    volume = head("t1", (40, 44, 24), (5.0, 5.0, 6.5))
    with pytest.raises(ScanError, match="the program hd-bet is not on the PATH"):
        skull_strip(volume, method="hd-bet")
    no_programs("hd-bet", fails=True)
    with pytest.raises(ScanError, match=r"hd-bet failed \(1\): no room on /scan\.nii\.gz$"):
        skull_strip(volume)
    no_programs("hd-bet", writes=False)
    with pytest.raises(ScanError, match="ended without an error and without an image"):
        skull_strip(volume)
    with pytest.raises(ScanError, match="was stopped after"):
        skull_strip(volume, minutes=1e-4)


def test_all_roles_take_the_brain_of_the_reference_and_the_manifest_tells_how(no_programs, tmp_path):
    spacing = (2.6, 2.6, 6.5)
    paths, row = {}, {"patient_id": "P1", "exam_id": "e"}
    for role in ("flair", "t1"):
        path = tmp_path / "scans" / f"{role}.nii"
        path.parent.mkdir(exist_ok=True)
        write_nifti(head(role, (76, 84, 24), spacing), path)
        paths[role], row[f"role:{role}"] = str(path), role
    roles = {r: Role(match={"path": r}) for r in paths}
    recipe = [
        Plugin(name="skull_strip", options={"reference": "flair"}),
        Plugin(name="zscore", options={"nonzero": True}),
    ]
    store = tmp_path / "store"
    manifest = build_store(store, pd.DataFrame([row]), paths, roles, recipe)
    assert manifest["note"].tolist() == [SIMPLE] * 2
    volumes = [read_volume(str(store / f)).array for f in manifest["file"]]
    np.testing.assert_array_equal(volumes[0] != 0, volumes[1] != 0)
    for array in volumes:  # z-scores of the brain alone
        assert abs(array[array != 0].mean()) < 1e-4
        assert abs(array[array != 0].std() - 1) < 1e-4
    (store / "manifest.csv").unlink()  # as after a kill: the files themselves know
    again = build_store(store, pd.DataFrame([row]), paths, roles, recipe)
    pd.testing.assert_frame_equal(again, manifest)


def test_the_brain_of_a_reference_is_looked_for_once(no_programs, tmp_path):
    counted = tmp_path / "bin" / "hd-bet"
    no_programs("hd-bet")
    counted.write_text(counted.read_text() + f"open({str(tmp_path / 'count')!r}, 'a').write('x')\n")
    volumes = {r: head(r, (40, 44, 24), (5.0, 5.0, 6.5)) for r in ("flair", "t1", "t2")}
    apply_recipe(volumes, [Plugin(name="skull_strip", options={"reference": "flair"})])
    assert (tmp_path / "count").read_text() == "x"
