"""The section on maps: pictures that show what is in the files, figures that stand in the tables, no ids."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fake_run import PATIENTS, write_run
from PIL import Image

from scan2gene.core.tables import write_csv
from scan2gene.core.volume import Volume
from scan2gene.imaging.nifti import write_nifti
from scan2gene.imaging.picture import STRIP_PIXELS, STRIP_SLICES, map_strip
from scan2gene.report import looking
from scan2gene.report.page import write_report

AFFINE = np.diag([-1.0, -1.0, 3.0, 1.0])  # LPS: rows and columns as they lie in the array


def _volumes(shape=(20, 16, 6), spot=(4, 3, 2)) -> tuple[Volume, Volume, Volume]:
    rng = np.random.default_rng(0)
    cam, lesion = np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    near = tuple(slice(s - 1, s + 2) for s in spot)
    cam[near], lesion[near] = 1.0, 1
    grey = rng.uniform(0.2, 0.4, shape).astype(np.float32)
    return Volume(grey, AFFINE), Volume(cam, AFFINE), Volume(lesion, AFFINE, "label")


def _pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(float)


def test_colour_lies_where_the_map_is_and_only_in_the_lower_row():
    image, cam, _ = _volumes()
    drawn = map_strip(image, cam, None)
    pixels = _pixels(drawn.jpeg)
    assert pixels.shape[:2] == (drawn.height, drawn.width) and (drawn.plane, drawn.shown, drawn.total) == (
        "axial",
        6,
        6,
    )
    assert drawn.strongest == 2  # slices 1 to 3 hold the same, the first of them counts
    saturation = pixels.max(axis=2) - pixels.min(axis=2)
    half, cell = drawn.height // 2, STRIP_PIXELS + 3
    assert saturation[: half - 8].max() < 40 < saturation[half + 8 :].max()
    rows, columns = np.nonzero(saturation[half:] > 60)
    assert set(columns // cell) == {1, 2, 3}
    scale = STRIP_PIXELS / 20  # i lies across, j down
    assert (columns % cell).mean() == pytest.approx(4.5 * scale, abs=4)
    assert rows.mean() == pytest.approx(3.5 * scale, abs=4)


@pytest.mark.parametrize("axes", [(-1, -1, 1), (1, -1, 1), (-1, 1, -1)])
def test_the_picture_does_not_depend_on_the_storage_order(axes):
    """Right stays left and anterior up, however the voxels were stored."""
    volumes = _volumes()
    flips = [a for a, (now, was) in enumerate(zip(axes, (-1, -1, 1), strict=True)) if now != was]
    turned = []
    for volume in volumes:
        affine = volume.affine.copy()
        for a in flips:
            affine[:3, 3] += affine[:3, a] * (volume.shape[a] - 1)
            affine[:3, a] *= -1
        turned.append(Volume(np.flip(volume.array, flips).copy(), affine, volume.kind))
    assert map_strip(*turned).jpeg == map_strip(*volumes).jpeg


def test_a_lesion_is_outlined_and_a_tall_volume_is_thinned():
    image, cam, lesion = _volumes(shape=(32, 32, 30), spot=(16, 16, 17))
    drawn = map_strip(image, cam, lesion)
    assert drawn.shown == STRIP_SLICES and drawn.total == 30
    columns = np.nonzero((_pixels(drawn.jpeg)[:STRIP_PIXELS] > 235).all(axis=2).sum(axis=0) > 5)[0] // (
        STRIP_PIXELS + 3
    )
    assert drawn.strongest - 1 in columns
    empty = map_strip(image, Volume(np.zeros_like(cam.array), AFFINE), None)
    pixels = _pixels(empty.jpeg)
    assert (pixels.max(axis=2) - pixels.min(axis=2)).max() < 6  # grey: nothing is drawn over it


def _explained(out: Path, n: int = 8) -> None:
    image, cam, lesion = _volumes()
    rows = []
    for i in range(n):
        files = [f"explain/net/{i}_{what}.nii.gz" for what in ("image", "map", "mask")]
        for volume, file in zip((image, cam, lesion), files, strict=True):
            write_nifti(volume, out / file)
        kind = ("TP", "FP", "TN", "TP")[i % 4]
        rows.append({"run_id": "net", "split": "cv", "repeat": 0, "fold": 0, "target": "idh", "patient_id": PATIENTS[i],
                     "exam_id": f"1.2.840.99999.{i}", "y_true": float(kind in ("TP", "FN")), "prob": 0.9 - i / 100,
                     "threshold": 0.5, "side": "", "kind": kind,
                     "class": "positive" if kind in ("TP", "FP") else "negative",
                     "picked": True, "drawn": True, "method": "hires_cam", "role": "t1c", "image": files[0],
                     "map": files[1], "mask": files[2], "map_on_scan": None, "energy": 0.4, "lesion_fraction": 0.05,
                     "pointing": 1.0, "energy_random": 0.05, "reason": None})  # fmt: skip
    write_csv(out / "explain" / "maps.csv", pd.DataFrame(rows))
    base = {"run_id": "net", "split": "cv", "target": "idh", "method": "hires_cam"}
    figures = {"energy": 0.4321, "lesion_fraction": 0.05, "energy_ratio": 8.765, "energy_ratio_random": 1.01}
    scores = [{**base, "measure": m, "step": "", "value": v, "low": v * 0.9, "high": v * 1.1, "n": 17}
              for m, v in (figures | {"pointing": 0.75}).items()]  # fmt: skip
    for step, value in (("1 of 3", 0.91), ("3 of 3", 0.62)):
        scores.append({**base, "measure": "rank_correlation", "step": step, "value": value, "n": 4})
    write_csv(out / "explain" / "scores.csv", pd.DataFrame(scores).assign(reason=None))


def _section(html: str) -> str:
    start = html.index('<section id="looking"')
    return html[start : html.index("</section>", start)]


def test_the_section_shows_kinds_figures_and_the_check_and_no_ids(tmp_path):
    study, out, stores = write_run(tmp_path)
    _explained(out)
    html = write_report(study, out, stores)
    section = _section(html)
    for text in ("True positive", "False positive", "True negative", "8.77", "0.432", "7.89 to 9.64", "3 of 3: 0.62"):
        assert text in section, text
    assert "hardly: do not read these maps as reasons" in section  # 0.62 with all layers random
    assert "There is no false negative among the test patients" in section
    assert section.index("probability 0.900") < section.index("probability 0.860")  # the surest first
    assert not re.search(r"PAT-\d|1\.2\.840\.99999", re.sub(r"base64,[A-Za-z0-9+/=]+", "", section))
    pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", section)
    assert len(pictures) == 8 == section.count('class="slices" tabindex="0"')
    assert not Image.open(io.BytesIO(base64.b64decode(pictures[0]))).getexif()
    assert "<script" not in section


def test_pictures_that_do_not_fit_are_counted(tmp_path, monkeypatch):
    study, out, stores = write_run(tmp_path)
    _explained(out)
    monkeypatch.setattr(looking, "MAP_BYTES", 1)
    assert "Left out: 8 rows of slices, to keep" in _section(write_report(study, out, stores))


def test_without_maps_the_page_says_why(tmp_path):
    study, out, stores = write_run(tmp_path)
    assert "No maps were made" in _section(write_report(study, out, stores))
    off = study.model_copy(update={"explain": study.explain.model_copy(update={"exams": 0})})
    assert "switched off" in _section(write_report(off, out, stores))


def test_empty_maps_are_counted_by_method_and_reason():
    from scan2gene.explain.fit import empty_reason

    reasons = [
        empty_reason({"prob": 0.52, "class": "negative"}),  # the logit speaks for the other class
        empty_reason({"prob": 0.48, "class": "negative"}),
        None,
        None,
    ]
    maps = pd.DataFrame({"method": ["hires_cam"] * 3 + ["grad_cam_pp"], "reason": reasons})
    assert looking._empty(maps) == [{"method": "HiResCAM", "n": 3, "empty": 2, "against": 1}]
