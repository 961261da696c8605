"""The prepared cohort. Here, and only here, (I, J, K) becomes (D, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scan2gene.core.console import say
from scan2gene.core.errors import CohortError
from scan2gene.core.machine import available_memory
from scan2gene.core.text import dimensions, file_size
from scan2gene.imaging.nifti import read_nifti
from scan2gene.tasks.outputs import Output, names_of, output_values

MEMORY_SHARE = 0.5  # of what is free that a cohort may take, in memory and on a device


class Images(Protocol):
    """Images of N exams or slices, in memory (a tensor) or on disk."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, R, D, H, W), or (N, 1, H, W)."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """uint8 or float32."""
        ...

    @property
    def device(self) -> torch.device:
        """Where indexing puts what it gives."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in memory, or on disk."""
        ...

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Some of them."""
        ...


@dataclass(frozen=True)
class StoredImages:
    """Images that stay on disk: indexing reads just the rows asked for.

    Args:
        files: For each exam and role the stored NIfTI, or None.
        shape: (N, R, D, H, W).
        dtype: uint8 or float32.
    """

    files: list[list[Path | None]]
    shape: tuple[int, ...]
    dtype: torch.dtype

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(B, R, D, H, W) of some exams."""
        out = np.zeros((len(rows), *self.shape[1:]), np.uint8 if self.dtype == torch.uint8 else np.float32)
        for target, row in zip(out, rows.tolist(), strict=True):
            for channel, path in zip(target, self.files[row], strict=True):
                if path is not None:
                    channel[...] = read_nifti_stored(path)
        return torch.from_numpy(out)

    @property
    def device(self) -> torch.device:
        """Where indexing puts what it reads."""
        return torch.device("cpu")

    @property
    def nbytes(self) -> int:
        """Size on disk, headers left out."""
        return int(np.prod(self.shape)) * (1 if self.dtype == torch.uint8 else 4)


@dataclass(frozen=True)
class CohortTensors:
    """Exams that could be prepared, or their slices, in the order of `exams`.

    Args:
        exams: Rows of cohort.csv; of slices, a row each with the columns role and slice.
        images: (N, R, D, H, W) uint8 or float32, R roles, D = K the slice axis; an
            absent role is all 0. Of slices (N, 1, H, W). In memory, or on disk when it does not fit.
        present: (N, R) float32, 1 where the exam has the role.
        targets: (N, T) float32, what each output should say, NaN where unknown.
        failed: exam_id -> reason, of exams that are not in `exams`.
        names: Of the T outputs: `IDH`, `malignant.L`, `subtype:her2`.
        spacing_mm: Voxel size along i, j, k; the median of the cohort.
    """

    exams: pd.DataFrame
    images: Images
    present: Tensor
    targets: Tensor
    failed: dict[str, str]
    names: tuple[str, ...] = ()
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    _copies: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def placed(self, device: torch.device) -> Images:
        """The images where training should take them from: on the device when they fit there."""
        if device.type != "cuda" or not isinstance(self.images, Tensor):
            return self.images
        if str(device) not in self._copies:
            free, _ = torch.cuda.mem_get_info(device)
            fits = self.images.nbytes <= MEMORY_SHARE * free
            self._copies[str(device)] = self.images.to(device) if fits else self.images.pin_memory()
            where = f"all on {device}" if fits else "in pinned memory, batch by batch to the device"
            say("", f"  images {where}: {file_size(self.images.nbytes)}, {file_size(free)} were free there")
        return self._copies[str(device)]

    @property
    def of_slices(self) -> bool:
        """True where a row is a slice, not an exam."""
        return len(self.images.shape) == 4

    def told(self) -> str:
        """Where the cohort lives, in words."""
        where = "in memory" if isinstance(self.images, Tensor) else "on disk, memory-mapped"
        what = "slices" if self.of_slices else "exams"
        kind = "uint8" if self.images.dtype == torch.uint8 else "float32"
        shape = dimensions(self.images.shape[1:])
        return f"{len(self.exams)} {what} of {shape} {kind}, {file_size(self.images.nbytes)}, {where}"


def stored_as_uint8(data: CohortTensors) -> bool:
    """True when networks see the cohort as -1 to 1, not as it was prepared."""
    return data.images.dtype == torch.uint8


def load_cohort(
    store: Path,
    manifest: pd.DataFrame,
    cohort: pd.DataFrame,
    labels: pd.DataFrame,
    roles: Sequence[str],
    answers: Sequence[Output],
    memory: int | None = None,
) -> CohortTensors:
    """The store's volumes of these roles, read into memory if they fit in half of what is free.

    Args:
        store: Folder of the volumes.
        manifest: Its manifest.
        cohort: Rows of cohort.csv.
        labels: Long label table.
        roles: Channels, in order.
        answers: Outputs, whose columns are those of `targets`.
        memory: Bytes that are free; default: what the machine says.

    Raises:
        CohortError: Nothing was prepared, or volumes differ in shape.
    """
    files = manifest[manifest["status"] == "ok"].set_index(["exam_id", "role"])["file"]
    reasons = manifest[manifest["status"] != "ok"].groupby("exam_id")["reason"].first()
    failed: dict[str, str] = {}
    kept: list[int] = []
    found: list[list[Path | None]] = []
    for position, exam in enumerate(cohort["exam_id"]):
        have = [files.get((exam, r)) for r in roles]
        if not any(isinstance(f, str) for f in have):
            failed[exam] = str(reasons.get(exam, "no volume was prepared"))
            continue
        found.append([store / f if isinstance(f, str) else None for f in have])
        kept.append(position)
    if not found:
        why = "; ".join(sorted(set(failed.values()))[:3])
        raise CohortError(f"not one exam could be prepared: {why}")
    shape, dtype, spacing = _grid(found)
    images: Images = StoredImages(found, (len(found), len(roles), *shape), dtype)
    if images.nbytes <= MEMORY_SHARE * (available_memory() if memory is None else memory):
        images = images[torch.arange(len(found))]
    exams = cohort.iloc[kept].reset_index(drop=True)
    wanted = output_values(labels, exams["patient_id"], answers).astype(np.float32)
    present = torch.tensor([[float(p is not None) for p in row] for row in found])
    return CohortTensors(exams, images, present, torch.from_numpy(wanted), failed, tuple(names_of(answers)), spacing)


def _grid(found: list[list[Path | None]]) -> tuple[tuple[int, ...], torch.dtype, tuple[float, float, float]]:
    """Common shape (D, H, W), type and median spacing along i, j, k of the stored volumes, from their headers."""
    import nibabel as nib

    shapes, spacings, eight_bit = set(), [], True
    for path in (p for row in found for p in row if p is not None):
        image = nib.load(path)
        shapes.add(tuple(int(n) for n in image.shape[::-1]))
        spacings.append(image.header.get_zooms()[:3])
        eight_bit &= image.get_data_dtype() == np.uint8
    if len(shapes) > 1:
        raise CohortError(
            f"prepared volumes differ in shape, e.g. {sorted(s[::-1] for s in shapes)[:3]}; end the preprocess list "
            "with crop_or_pad or resize so that all fit one grid"
        )
    i, j, k = (float(v) for v in np.median(spacings, axis=0))
    return shapes.pop(), torch.uint8 if eight_bit else torch.float32, (i, j, k)


def read_nifti_stored(path: Path) -> np.ndarray:
    """One stored volume as (D, H, W), its dtype kept when it is uint8."""
    import nibabel as nib

    image = nib.load(path)
    if image.get_data_dtype() == np.uint8:
        return np.asarray(image.dataobj).T
    return read_nifti(path).array.T


def taken(images: Images, rows: Tensor) -> Tensor:
    """Some rows of images, on their device.

    Whole rows are copied, which for a tensor is two to six times as fast as indexing it.
    """
    rows = rows.to(images.device)
    return images.index_select(0, rows) if isinstance(images, Tensor) else images[rows]


def to_input(images: Tensor, present: Tensor) -> Tensor:
    """Network input: uint8 0..255 becomes float -1..1, float passes; absent roles are 0.

    Args:
        images: (B, R, D, H, W) or (B, R, H, W) uint8 or float32, or embeddings (B, F), which pass.
        present: (B, R).
    """
    if images.ndim == 2:
        return images
    x = images.float().mul_(1 / 127.5).sub_(1) if images.dtype == torch.uint8 else images
    if (present == 1).all():
        return x
    return x * present.view(*present.shape, *[1] * (x.ndim - 2))
