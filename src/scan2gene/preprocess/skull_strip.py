"""The brain out of the head."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from typing import Literal

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.preprocess.brain_programs import PROGRAMS, brain_by, installed
from scan2gene.preprocess.components import large_components
from scan2gene.preprocess.notes import note
from scan2gene.preprocess.remove_background import otsu
from scan2gene.preprocess.resample import like, onto

VERSION = 1
Method = Literal["auto", "mask", "hd-bet", "synthstrip", "simple"]
SIMPLE = "skull_strip: brain found by the simple built-in rule, not by a trained program: look at the pictures"
WORK_MM = 2.0  # voxels of the simple rule; borders are no sharper than that anyway
BRIGHT = 99.0  # percentile; fat and vessels above it do not decide what is tissue
_LAST = threading.local()  # the brain of the reference, found once for all roles of an exam


def skull_strip(
    volume: Volume,
    *,
    mask: Volume | None = None,
    method: Method = "auto",
    reference: Volume | None = None,
    outside: Literal["zero", "minimum"] = "zero",
    depth_mm: float = 6.0,
    volume_ml: Sequence[float] = (500, 2300),
    device: Literal["cpu", "cuda"] = "cpu",
    minutes: float = 30,
) -> Volume:
    """Blank everything but the brain; the manifest says how it was found.

    Args:
        volume: Head, array (I, J, K).
        mask: The brain, any class counts. In a study file: the name of the role.
        method: "auto" takes the mask, else HD-BET, else SynthStrip where one is installed, else the simple rule.
        reference: The volume in which the brain is looked for; default: this one. In a study file the name of a role,
            which must lie in the same place: put `register` before.
        outside: "zero" sets the rest to 0, "minimum" to the volume's minimum.
        depth_mm: Simple rule: thickness of what lies over the skull, and of the bridges that are cut.
        volume_ml: Simple rule: smallest and largest volume that passes for a brain.
        device: What a program computes on.
        minutes: After which a program is stopped.

    Raises:
        ScanError: No brain is found, a program is missing or fails, or the mask is empty.
    """
    if method not in ("auto", "mask", "simple", *PROGRAMS):
        raise ScanError(f"method must be auto, mask, simple, {' or '.join(PROGRAMS)}, got {method!r}")
    if method == "mask" and mask is None:
        raise ScanError("skull_strip: method mask needs the option mask, the role that holds the brain")
    if mask is not None and method in ("auto", "mask"):
        inside = like(mask, volume).array > 0
        note("skull_strip: by the mask")
    else:
        shown = volume if reference is None else reference
        inside = like(_brain(shown, method, depth_mm, volume_ml, device, minutes), volume).array > 0
    if not inside.any():
        raise ScanError("skull_strip: the brain lies outside this volume's field, or its mask is empty")
    blank = volume.array.min() if outside == "minimum" else volume.array.dtype.type(0)
    return volume.with_array(np.where(inside, volume.array, blank))


def _brain(
    volume: Volume, method: str, depth_mm: float, volume_ml: Sequence[float], device: str, minutes: float
) -> Volume:
    """The brain of a volume, by a program or the simple rule; the last one is kept."""
    programs = installed() if method == "auto" else []
    how = programs[0] if programs else "simple" if method == "auto" else method
    key = (how, depth_mm, *volume_ml)
    known = getattr(_LAST, "found", None)
    if known is not None and known[0]() is volume.array and known[1] == key:
        found = known[2]
    else:
        found = simple_brain(volume, depth_mm, volume_ml) if how == "simple" else brain_by(how, volume, device, minutes)
        _LAST.found = (weakref.ref(volume.array), key, found)
    note(SIMPLE if how == "simple" else f"skull_strip: by {how}")
    return found


def simple_brain(volume: Volume, depth_mm: float = 6.0, volume_ml: Sequence[float] = (500, 2300)) -> Volume:
    """The brain as the largest piece of tissue that is left when the outermost millimetres are taken off.

    Tissue is what lies above Otsu's threshold. What is thinner than twice `depth_mm` goes: scalp, and the bridges of
    eyes and neck muscles. The largest piece left is grown back by as much within the tissue, and its holes are filled.
    A rule of thumb: it lets some meninges, eyes and neck pass, and needs bone darker and fat not far brighter than
    brain. FLAIR and T2 are like that; a T1 with bright fat is refused by its volume, so let a FLAIR be the reference.

    Args:
        volume: Head, array (I, J, K).
        depth_mm: See above.
        volume_ml: Smallest and largest volume that passes for a brain.

    Returns:
        Label volume of 0 and 1 on the volume's grid.

    Raises:
        ScanError: Nothing is left, or its volume is that of no brain.
    """
    work = _coarse(volume)
    array = np.minimum(work.array, np.percentile(work.array, BRIGHT)).astype(np.float32)
    brain = _thickest(array > otsu(array, float(array.min()), float(array.max())), work.spacing_mm, depth_mm)
    millilitres = float(brain.sum()) * float(np.prod(work.spacing_mm)) / 1000
    low, high = volume_ml
    if not brain.any() or not low <= millilitres <= high:
        raise ScanError(
            f"skull_strip: the simple rule found {millilitres:.0f} ml, and a brain has {low:g} to {high:g} "
            "(volume_ml). Name a FLAIR or T2 as reference, give a mask, or install HD-BET or SynthStrip."
        )
    return like(Volume(brain.astype(np.uint8), work.affine, "label"), volume)


def _thickest(tissue: np.ndarray, spacing_mm: tuple[float, ...], depth_mm: float) -> np.ndarray:
    """The largest piece (I, J, K) that is thicker than twice a depth, grown back within the tissue, holes filled."""
    from scipy.ndimage import binary_fill_holes, distance_transform_edt

    # the field's edge is no border of the head: a slab cut out of it has tissue up to its first slice
    padded = np.pad(tissue, 1, mode="edge")
    core = (distance_transform_edt(padded, sampling=spacing_mm) > depth_mm)[1:-1, 1:-1, 1:-1]
    if not core.any():
        return core
    core = large_components(core, None)
    grown = tissue & (distance_transform_edt(~core, sampling=spacing_mm) <= depth_mm + max(spacing_mm) / 2)
    return np.asarray(binary_fill_holes(large_components(grown, None)), bool)


def _coarse(volume: Volume) -> Volume:
    """The volume in voxels of at least `WORK_MM`, its corner kept."""
    factor = np.maximum(1, WORK_MM / np.asarray(volume.spacing_mm))
    shape = np.maximum(1, np.floor(np.asarray(volume.shape) / factor)).astype(int)
    if (shape == volume.shape).all():
        return volume
    factor = np.asarray(volume.shape) / shape
    affine = volume.affine.copy()
    affine[:3, :3] *= factor
    affine[:3, 3] += volume.affine[:3, :3] @ ((factor - 1) / 2)
    return onto(volume, shape, affine)
