"""One real glioblastoma exam, DICOM to prepared volume, checked against SimpleITK and scipy."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

import scan2gene
from scan2gene.core.geometry import from_sitk
from scan2gene.preprocess import STEPS

SPACING_MM = (1.1, 1.1, 3.0)
BORDER = 12  # voxels of the resampled volume left out of the comparison; boundary rules differ there


def compare(folder: Path) -> pd.DataFrame:
    """Index and read an exam, bring it to LAS and 1.1 x 1.1 x 3.0 mm, compare at each step.

    Args:
        folder: Holds one exam.

    Returns:
        One row per series. `read_*` compares voxels and affine with SimpleITK's series
        reader, `oriented_*` with SimpleITK's DICOMOrient, `resampled_difference` the
        largest voxel difference to scipy's cubic spline, as a share of the largest voxel.
    """
    rows = []
    for row in scan2gene.index(folder).itertuples():
        if row.status != "ok":
            rows.append({"series": row.SeriesDescription or row.path, "status": row.reason})
            continue
        volume = scan2gene.read_volume(row.path)
        reference = _sitk_series(Path(row.path.rpartition("#")[0]))
        standing = STEPS["reorient"](volume, axes="LAS")
        theirs = _sitk_oriented(reference)
        resampled = STEPS["resample"](standing, spacing_mm=SPACING_MM)
        rows.append(
            {
                "series": row.SeriesDescription,
                "status": "ok",
                "shape": row.shape,
                "orientation": row.orientation,
                "plane": row.plane,
                "SliceThickness": row.SliceThickness,
                "slice_spacing_mm": row.spacing_k_mm,
                "read_voxels": np.abs(volume.array - from_sitk(reference, "intensity").array).max(),
                "read_affine_mm": np.abs(volume.affine - from_sitk(reference, "intensity").affine).max(),
                "oriented_voxels": np.abs(standing.array - theirs.array).max(),
                "oriented_affine_mm": np.abs(standing.affine - theirs.affine).max(),
                "prepared_shape": "x".join(map(str, resampled.shape)),
                "resampled_difference": _spline_difference(standing, resampled),
            }
        )
    return pd.DataFrame(rows)


def _sitk_series(folder: Path):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return sitk.Cast(reader.Execute(), sitk.sitkFloat32)


def _sitk_oriented(image):
    import SimpleITK as sitk

    return from_sitk(sitk.DICOMOrient(image, "LAS"), "intensity")


def _spline_difference(before: scan2gene.Volume, after: scan2gene.Volume) -> float:
    """Largest difference to scipy's spline at the same world coordinates, borders left out."""
    from scipy.ndimage import map_coordinates

    inner = [slice(BORDER, n - BORDER) if n > 3 * BORDER else slice(n // 3, n - n // 3) for n in after.shape]
    index = np.stack(np.meshgrid(*[np.arange(n)[s] for n, s in zip(after.shape, inner, strict=True)], indexing="ij"))
    into = np.linalg.inv(before.affine) @ after.affine
    where = np.einsum("ab,bijk->aijk", into[:3, :3], index) + into[:3, 3][:, None, None, None]
    wanted = map_coordinates(before.array.astype(np.float64), where, order=3, mode="mirror")
    wanted = np.clip(wanted, before.array.min(), before.array.max())
    return float(np.abs(after.array[tuple(inner)] - wanted).max() / np.abs(before.array).max())


def markdown(table: pd.DataFrame) -> str:
    """The table as a page for docs/results/."""
    lines = [
        "# One glioblastoma exam, DICOM to prepared volume",
        "",
        "Patient of TCIA Brain-Tumor-Progression (CC BY 3.0), four series of 22 oblique axial slices.",
        "Written by `make results` (`studies/gbm_exam.py`). `read` and `oriented` compare with SimpleITK's",
        "series reader and `DICOMOrient`: largest voxel difference, and largest difference of an affine entry in mm.",
        "`resampled` compares the B-spline volume of 1.1 x 1.1 x 3.0 mm with scipy's cubic spline: largest voxel",
        f"difference as a share of the largest voxel, {BORDER} border voxels left out.",
        "",
    ]
    short = {
        "series": "series", "shape": "shape", "orientation": "axes", "SliceThickness": "thickness tag, mm",
        "slice_spacing_mm": "measured spacing, mm", "read_voxels": "read, voxels", "read_affine_mm": "read, affine",
        "oriented_voxels": "oriented, voxels", "oriented_affine_mm": "oriented, affine",
        "prepared_shape": "prepared shape", "resampled_difference": "resampled",
    }  # fmt: skip
    lines.append("| " + " | ".join(short.values()) + " |")
    lines.append("|" + "---|" * len(short))
    for row in table.to_dict("records"):
        cells = (f"{row[c]:.2g}" if isinstance(row[c], float) and c != "slice_spacing_mm" else row[c] for c in short)
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Iterable[str]) -> None:
    """Print the page for the exam in the folder given."""
    print(markdown(compare(Path(next(iter(arguments))))))


if __name__ == "__main__":
    main(sys.argv[1:])
