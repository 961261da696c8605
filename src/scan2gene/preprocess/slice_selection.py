"""Which slices `edge_slices` kept, how many, and maps and masks in their places among those of the scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from scan2gene.core.geometry import to_sitk
from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.preprocess.edge_slices import kept_slices
from scan2gene.preprocess.recipe import apply_recipe, roles_of_steps
from scan2gene.preprocess.resample import slice_axis

_COUNTS_CHANGE = {"resample", "match_grid", "body_crop", "crop_or_pad", "crop_to_mask"}


def kept_numbers(
    exam: Mapping[str, object], role: str, paths: Mapping[str, str], recipe: Sequence[Plugin]
) -> np.ndarray | None:
    """Which slices `edge_slices` kept of a series, where they may not adjoin, found from the scan once more.

    Args:
        exam: A row of cohort.csv.
        role: Of kind intensity.
        paths: series_id -> path.
        recipe: Steps in order.

    Returns:
        Ascending numbers of slices; None where kept slices adjoin, so that the stored affine tells all.

    Raises:
        Scan2GeneError, OSError: The scan cannot be read any more.
    """
    at = next((n for n, step in enumerate(recipe) if step.name == "edge_slices"), None)
    if at is None or recipe[at].options.get("rule", "foreground") != "middle":
        return None
    return kept_slices(before_edges(exam, role, paths, recipe[:at]), **recipe[at].options)


def before_edges(exam: Mapping[str, object], role: str, paths: Mapping[str, str], steps: Sequence[Plugin]) -> Volume:
    """The series as the steps before `edge_slices` leave it."""
    sources = {r: exam.get(f"role:{r}") for r in (role, *roles_of_steps(steps))}
    volumes = {r: read_volume(paths[source]) for r, source in sources.items() if isinstance(source, str)}
    return apply_recipe(volumes, steps)[role]


def kept_counts(
    manifest: pd.DataFrame, cohort: pd.DataFrame, series: pd.DataFrame, roles: Sequence[str], recipe: Sequence[Plugin]
) -> pd.DataFrame:
    """How many slices `edge_slices` kept of each series.

    Args:
        manifest: Of the recipe's store.
        cohort: cohort.csv's rows.
        series: series.csv, whose shape and spacing tell how many there were.
        roles: Of kind intensity.
        recipe: Steps in order.

    Returns:
        patient_id, exam_id, role, slices, kept; empty where no step drops slices, other steps
        change their number, or k is not made the slice axis by `reorient`.
    """
    names = {step.name for step in recipe}
    turned = any(s.name == "reorient" and s.options.get("axes") == "acquisition" for s in recipe)
    fixed = any(s.name == "resize" and s.options["shape"][2] is not None for s in recipe)
    columns = ["patient_id", "exam_id", "role", "slices", "kept"]
    rows = []
    if "edge_slices" in names and turned and not fixed and not _COUNTS_CHANGE & names:
        known = series.set_index("series_id")
        ids = cohort.set_index("exam_id")
        ready = manifest[(manifest["status"] == "ok") & manifest["role"].isin(roles)]
        for row in ready.to_dict("records"):
            source = known.loc[ids.at[row["exam_id"], f"role:{row['role']}"]]
            spacing = [float(source[f"spacing_{axis}_mm"]) for axis in "ijk"]
            axis = slice_axis(Volume(np.zeros((1, 1, 1), np.uint8), np.diag([*spacing, 1.0])))
            count, kept = int(source["shape"].split("x")[axis]), int(row["shape"].split("x")[2])
            rows.append([*(row[c] for c in columns[:3]), count, kept])
    return pd.DataFrame(rows, columns=columns)


def with_gaps(volume: Volume, kept: np.ndarray | None) -> Volume:
    """A volume of kept slices with the slices between them, which are 0.

    Args:
        volume: Array (I, J, K), slices that need not adjoin; the affine is that of the first.
        kept: (K,) ascending numbers of the slices; None: they adjoin.
    """
    if kept is None:
        return volume
    array = np.zeros((*volume.shape[:2], int(kept[-1] - kept[0]) + 1), volume.array.dtype)
    array[:, :, kept - kept[0]] = volume.array
    return Volume(array, volume.affine, volume.kind)


def laid_on(mask: Volume, image: Volume, kept: np.ndarray | None) -> np.ndarray:
    """A mask in the voxels of another volume, nearest neighbour: (I, J, K) bool.

    Args:
        mask: Of kind label, on any grid.
        image: Whose voxels.
        kept: As in `with_gaps`, of the image.
    """
    import SimpleITK as sitk

    if kept is None and mask.shape == image.shape and np.allclose(mask.affine, image.affine, atol=1e-3):
        return mask.array > 0
    full = with_gaps(image, kept)
    grid = to_sitk(Volume(np.broadcast_to(np.uint8(0), full.shape), full.affine))
    marked = to_sitk(Volume((mask.array > 0).astype(np.uint8), mask.affine))
    array = sitk.GetArrayFromImage(sitk.Resample(marked, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)).T > 0
    return array if kept is None else array[:, :, kept - kept[0]]
