"""Tables of boxes as masks: which voxels, what is clipped or refused, and the way from a study to the prepared exam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scan2gene.cohorts.boxes import box_mask, read_boxes
from scan2gene.core.errors import CohortError, ScanError, StudyError
from scan2gene.core.study_file import load_study
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.nifti import write_nifti
from scan2gene.stages.pipeline import run, series_paths

AFFINE = np.diag([-1.5, -1.5, 4.0, 1.0])
SHAPE = (12, 10, 4)
HEADER = "patient_id,k,box_x,box_y,box_w,box_h,area\n"
STUDY = """
name: boxed
cohort:
  scans: [images]
  labels: labels.csv
  patient_pattern: (P\\d+)/
  roles:
    t1: {match: {path: 't1\\.nii'}}
    tumour: {boxes: slices.csv, of: t1}
targets: {large: {column: large}}
preprocess: []
runs: [{name: a, model: {name: light_cnn}}]
"""


def _boxes(*rows: tuple) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["k", "box_x", "box_y", "box_w", "box_h"]).assign(patient_id="P1")


def test_box_covers_the_voxels_whose_middle_it_holds():
    volume = Volume(np.zeros(SHAPE, np.float32), AFFINE)
    mask = box_mask(_boxes((1, 2.0, 3.0, 4.0, 2.0), (3, 0.6, 0.4, 1.0, 1.0)), volume)
    wanted = np.zeros(SHAPE, np.uint8)
    wanted[2:6, 3:5, 1] = 1  # x along the first axis, y along the second
    wanted[1, 0, 3] = 1
    np.testing.assert_array_equal(mask.array, wanted)
    assert mask.kind == "label"
    np.testing.assert_array_equal(mask.affine, AFFINE)


def test_boxes_over_the_edge_are_clipped():
    volume = Volume(np.zeros(SHAPE, np.float32), AFFINE)
    assert box_mask(_boxes((0, -5, 8, 100, 100)), volume).array.sum() == 12 * 2
    for boxes in (_boxes((4, 0, 0, 3, 3)), _boxes((-1, 0, 0, 3, 3)), _boxes((0, 20, 0, 3, 3)), _boxes((0, 2, 2, 0, 3))):
        with pytest.raises(ScanError, match=r"slices are 0 to 3|no voxel"):
            box_mask(boxes, volume)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient_id,k,box_x\nP1,0,1\n", "lacks box_y, box_w, box_h"),
        (HEADER + "P1,0,1,1,3,3,9\nP1,x,1,1,3,3,9\n", "slices.csv:3: k is 'x'"),
        (HEADER + "P1,0.5,1,1,3,3,9\n", "slices.csv:2: k is '0.5'"),
        (HEADER + "P1,0,1,,3,3,9\n", "box_y is ''"),
    ],
)
def test_tables_that_cannot_be_read_say_where(tmp_path, text, message):
    (tmp_path / "slices.csv").write_text(text)
    with pytest.raises(CohortError, match=message):
        read_boxes(tmp_path / "slices.csv")
    with pytest.raises(CohortError, match="there is no table"):
        read_boxes(tmp_path / "none.csv")


@pytest.fixture
def study(tmp_path) -> Path:
    """Six patients, four with boxes, one of them with a box in a slice that is not there."""
    rng = np.random.default_rng(0)
    for n in range(6):
        write_nifti(Volume(rng.random(SHAPE, np.float32), AFFINE), tmp_path / "images" / f"P{n}" / "t1.nii.gz")
    labels = [f"P{n},{n % 2}" for n in range(6)]
    (tmp_path / "labels.csv").write_text("\n".join(["patient_id,large", *labels]))
    rows = ["P0,0,2,3,4,2,9", "P0,1,2,3,4,2,9", "P1,2,0,0,5,5,9", "P2,3,1,1,2,2,9", "P3,7,1,1,2,2,9", "P9,0,1,1,2,2,9"]
    (tmp_path / "slices.csv").write_text(HEADER + "\n".join(rows))
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path / "study.yaml"


def test_study_with_boxes_has_masks(study):
    loaded = load_study(study)
    out = run(loaded, study.parent / "out", until="curate")
    cohort = pd.read_csv(out / "cohort.csv").set_index("patient_id")
    paths = series_paths(loaded, out)
    marked = {p: read_volume(paths[s], "label").array.sum() for p, s in cohort["role:tumour"].dropna().items()}
    assert marked == {"P0": 16, "P1": 25, "P2": 4}
    assert len(cohort) == 6
    left_out = pd.read_csv(out / "exclusions.csv")
    assert left_out.loc[left_out["patient_id"] == "P3", "reason"].item() == (
        "no tumour: a box in slice 7, and slices are 0 to 3"
    )
    first = (out / "cohort.csv").stat().st_mtime_ns
    run(loaded, out, until="curate")
    assert (out / "cohort.csv").stat().st_mtime_ns == first
    text = study.with_name("slices.csv").read_text().replace("P3,7", "P3,0")
    study.with_name("slices.csv").write_text(text)
    run(loaded, out, until="curate")
    assert pd.read_csv(out / "cohort.csv")["role:tumour"].notna().sum() == 4


def test_boxes_are_the_mask_of_features(study):
    model = "{name: mean, options: {features: [lesion]}}"
    features = "features: {lesion: {name: lesion, options: {mask: tumour}}}\n"
    study.write_text(STUDY.replace("{name: light_cnn}", model).replace("preprocess: []\n", features))
    out = run(load_study(study), study.parent / "out", until="features")
    table = pd.read_parquet(out / "features" / "lesion.parquet").set_index("patient_id")
    assert table.loc["P0", "volume_cm3"] == pytest.approx(16 * 1.5 * 1.5 * 4 / 1000)
    assert table.loc["P0", "status"] == "ok"
    assert table.loc[["P3", "P4", "P5"], "volume_cm3"].isna().all()


def test_boxes_of_nobody_are_refused(study):
    study.with_name("slices.csv").write_text(HEADER + "Q1,0,1,1,2,2,9\n")
    with pytest.raises(CohortError, match="do patient ids agree"):
        run(load_study(study), study.parent / "out", until="curate")


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ("{boxes: slices.csv}", "boxes and of go together"),
        ("{boxes: slices.csv, of: t2}", "of: 't2' is not known"),
        ("{boxes: slices.csv, of: t1, match: {path: a}}", "one of them"),
        ("{kind: label}", "needs match"),
        ("{boxes: slices.csv, of: t1, kind: intensity}", "leave out kind"),
    ],
)
def test_roles_that_make_no_sense_are_refused(study, role, message):
    study.write_text(STUDY.replace("{boxes: slices.csv, of: t1}", role))
    with pytest.raises(StudyError, match=message):
        load_study(study)


def test_pseudonyms_and_lesion_sizes_do_not_go_with_boxes(study):
    study.write_text(STUDY.replace("cohort:\n", "cohort:\n  pseudonyms: key.csv\n"))
    with pytest.raises(StudyError, match="pseudonyms"):
        load_study(study)
    study.write_text(STUDY.replace("cohort:\n", "cohort:\n  min_lesion: {role: tumour, volume_mm3: 5}\n"))
    with pytest.raises(StudyError, match="no outline"):
        load_study(study)


def test_real_boxes_mark_what_enhances(shared_data):
    folder = shared_data / "breast_dce_phases"
    boxes = dict(iter(read_boxes(folder / "slices.csv").groupby("patient_id")))
    assert len(boxes) == 198
    for patient in sorted(boxes)[:5]:
        before, after = (read_volume(folder / "images" / patient / f"{phase}.nii.gz") for phase in ("t0", "t1"))
        inside = box_mask(boxes[patient], before).array > 0
        gain = after.array - before.array
        assert gain[inside].mean() > gain[~inside].mean()
