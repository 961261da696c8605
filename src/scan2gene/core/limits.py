"""What no scan of a body can be, and what this machine cannot hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scan2gene.core.errors import GeometryError, ScanError
from scan2gene.core.machine import available_memory
from scan2gene.core.text import dimensions, file_size

MIN_SPACING_MM = 0.01  # MR microscopy of tissue samples ends near 0.02
MAX_PIXEL_MM = 15.0  # the two finer sides of a voxel: field maps and spectra end near 10
MAX_SPACING_MM = 200.0  # the coarsest side: localisers leave wide gaps between slices
MIN_FIELD_MM = 3.0  # the longest side of a field
MAX_FIELD_MM = 2500.0  # the longest side of a field: a patient on the table
MAX_WIDTH_MM = 800.0  # the second longest: a scanner's bore is 700 mm wide at most
MEMORY_SHARE = 0.5  # of the free memory that one result may take; other exams are worked on at the same time


def check_plausible(shape: Sequence[int], spacing_mm: Sequence[float]) -> None:
    """Refuse a voxel size or field of view that no scan of a body has.

    Args:
        shape: Voxels along i, j, k.
        spacing_mm: Size of a voxel along i, j, k, mm.

    Raises:
        ScanError: With the sizes and the limit.
    """
    spacing = np.asarray(spacing_mm, float)
    field = np.sort(spacing * np.asarray(shape[:3]))
    fine, middle, coarse = np.sort(spacing)
    wrong = ""
    if fine < MIN_SPACING_MM:
        wrong = f"voxels under {MIN_SPACING_MM:g} mm"
    elif middle > MAX_PIXEL_MM:
        wrong = f"pixels over {MAX_PIXEL_MM:g} mm"
    elif coarse > MAX_SPACING_MM:
        wrong = f"slices over {MAX_SPACING_MM:g} mm apart"
    elif field[2] < MIN_FIELD_MM:
        wrong = f"a field under {MIN_FIELD_MM:g} mm"
    elif field[2] > MAX_FIELD_MM:
        wrong = f"a field over {MAX_FIELD_MM:g} mm"
    elif field[1] > MAX_WIDTH_MM:
        wrong = f"a field over {MAX_WIDTH_MM:g} mm wide"
    if wrong:
        raise ScanError(
            f"voxels of {dimensions(spacing)} mm and a field of view of {dimensions(spacing * shape[:3])} mm; no scan "
            f"of a body has {wrong}: correct the voxel size or its unit in the file's header"
        )


def check_memory(shape: Sequence[float] | np.ndarray, bytes_per_voxel: int, step: str) -> None:
    """Refuse a result that this machine cannot hold, before any of it is made.

    Args:
        shape: Voxels along i, j, k, also such as no integer holds.
        bytes_per_voxel: What the result and the copies on the way to it take.
        step: What makes it, for the message.

    Raises:
        GeometryError: It would take more than `MEMORY_SHARE` of the free memory.
    """
    need = float(np.prod(np.asarray(shape, float))) * bytes_per_voxel
    if need > 64 << 20:  # asking the system takes longer than making a small one
        free = available_memory()
        if not need <= MEMORY_SHARE * free:
            raise GeometryError(
                f"{step}: a result of {dimensions(shape)} voxels needs {file_size(need)} of memory and "
                f"{file_size(free)} are free: is the voxel size of this scan right, and the size that the step takes?"
            )
