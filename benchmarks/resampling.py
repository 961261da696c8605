"""Cubic B-spline resampling beside SimpleITK and TorchIO, on the same grids, two threads for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from exam import voxels
from scipy.spatial.transform import Rotation
from timing import medians

from scan2gene import Volume
from scan2gene.core.geometry import to_sitk
from scan2gene.preprocess import STEPS
from scan2gene.preprocess.spline import resample_spline

BORDER = 12  # voxels; the peers treat the outermost half voxel otherwise


class Case(NamedTuple):
    """One grid to another."""

    what: str
    shape: tuple[int, int, int]
    old: tuple[float, float, float]
    new: tuple[float, float, float]
    dtype: type = np.float32
    turned: bool = False
    order: Literal["C", "F"] = "F"  # memory order: the readers' Fortran, or NumPy's C


CASES = (
    Case("the BRCA study's", (512, 512, 120), (0.7, 0.7, 1.5), (1.1, 1.1, 3.0)),
    Case("the same", (512, 512, 120), (0.7, 0.7, 1.5), (1.1, 1.1, 3.0), np.int16),
    Case("the same", (512, 512, 120), (0.7, 0.7, 1.5), (1.1, 1.1, 3.0), np.uint8),
    Case("the same, C order", (512, 512, 120), (0.7, 0.7, 1.5), (1.1, 1.1, 3.0), order="C"),
    Case("the same, C order", (512, 512, 120), (0.7, 0.7, 1.5), (1.1, 1.1, 3.0), np.int16, order="C"),
    Case("to cubes", (384, 384, 60), (0.9, 0.9, 3.0), (1.0, 1.0, 1.0)),
    Case("coarser", (512, 512, 120), (0.7, 0.7, 1.5), (2.0, 2.0, 4.0)),
    Case("finer", (256, 256, 40), (1.4, 1.4, 3.0), (0.7, 0.7, 1.5)),
    Case("few thick slices", (320, 320, 26), (0.7, 0.7, 6.5), (1.1, 1.1, 3.0)),
    Case("small", (96, 96, 48), (2.0, 2.0, 3.0), (1.5, 1.5, 2.0)),
    Case("oblique, straightened", (320, 320, 60), (0.8, 0.8, 2.0), (1.1, 1.1, 3.0), turned=True),
)


def rows() -> list[str]:
    """The table, one line per case."""
    import SimpleITK as sitk
    import torch

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    torch.set_num_threads(2)
    return [
        "| case | voxels | mm | to mm | dtype | scan2gene, s | SimpleITK, s | ratio | TorchIO, s | ratio "
        "| difference, SimpleITK | TorchIO |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
        *(_row(case) for case in CASES),
    ]


def _row(case: Case) -> str:
    volume = _volume(case)
    options = {"spacing_mm": case.new, "straighten": case.turned}
    ours = STEPS["resample"](volume, **options)
    peers = _by_sitk(volume, ours), _by_torchio(volume, ours)
    mine, *times = medians(lambda: STEPS["resample"](volume, **options), *peers)
    apart = [_difference(_unrounded(volume, ours), peer(), volume.array) for peer in peers]
    cells = [
        case.what, _x(case.shape), _x(case.old), _x(case.new), np.dtype(case.dtype).name, f"{mine:.3f}",
        f"{times[0]:.2f}", f"{times[0] / mine:.1f}", f"{times[1]:.2f}", f"{times[1] / mine:.1f}",
        *(f"{a:.0e}" for a in apart),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _volume(case: Case) -> Volume:
    array = voxels(case.shape)
    if case.dtype is np.uint8:
        array = array >> 4
    affine = np.diag([*case.old, 1.0])
    if case.turned:
        turn = Rotation.from_euler("xyz", [12, -8, 5], degrees=True).as_matrix()
        affine[:3, :3] = turn * case.old
    return Volume(np.array(array, case.dtype, order=case.order), affine)


def _by_sitk(volume: Volume, target: Volume):
    """Images are made beforehand: only the resampling is timed, float32 out."""
    import SimpleITK as sitk

    image, grid = to_sitk(volume), to_sitk(target)
    kind = sitk.sitkFloat32

    def work() -> np.ndarray:
        done = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkBSpline, 0.0, kind)
        return sitk.GetArrayFromImage(done).T

    return work


def _by_torchio(volume: Volume, target: Volume):
    import torch
    import torchio as tio

    tensor = torch.from_numpy(np.array(volume.array)[None])
    image = tio.ScalarImage(tensor=tensor, affine=volume.affine)
    step = tio.Resample((target.shape, target.affine), image_interpolation="bspline")
    return lambda: step(image).data[0].numpy()


def _unrounded(volume: Volume, done: Volume) -> np.ndarray:
    """What the step gave; of whole numbers, the same kernel's output before it is rounded."""
    if np.issubdtype(done.array.dtype, np.floating):
        return done.array
    factor = np.divide(done.spacing_mm, volume.spacing_mm).tolist()
    return resample_spline(volume.array, done.shape, factor, (float(volume.array.min()), float(volume.array.max())))


def _difference(ours: np.ndarray, theirs: np.ndarray, source: np.ndarray) -> float:
    """Largest difference as a share of the largest voxel, the border left out; theirs held to the input's range."""
    inner = tuple(slice(b, n - b) for n in ours.shape for b in [min(BORDER, n // 4)])
    theirs = theirs.astype(np.float64).clip(source.min(), source.max())
    return float(np.abs(ours.astype(np.float64) - theirs)[inner].max() / np.abs(theirs).max())


def _x(values: Sequence[float]) -> str:
    return " x ".join(f"{v:g}" for v in values)
