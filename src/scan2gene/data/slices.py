"""The prepared cohort as slices: rows are slices of any role, all of one size in their plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scan2gene.core.errors import CohortError, RunError
from scan2gene.core.machine import available_memory
from scan2gene.data.cohort import MEMORY_SHARE, CohortTensors, Images, read_nifti_stored
from scan2gene.tasks.outputs import Output, names_of, output_values

SIZE = {np.dtype(np.uint8): torch.uint8, np.dtype(np.float32): torch.float32}
MAPS = 16_384  # volumes mapped at once; Linux allows a process 65,530 maps


@dataclass(frozen=True)
class StoredSlices:
    """Slices that stay on disk, memory-mapped: in an uncompressed NIfTI each is one run of bytes.

    Args:
        files: V stored volumes.
        offsets: (V,) where their voxels begin.
        where: (N, 2) volume and slice number of each row.
        shape: (N, 1, H, W).
        dtype: uint8 or float32, of every volume.
    """

    files: list[Path]
    offsets: list[int]
    where: np.ndarray
    shape: tuple[int, ...]
    dtype: torch.dtype
    _maps: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(B, 1, H, W) of some slices."""
        if len(rows) == 0:
            return torch.empty((0, *self.shape[1:]), dtype=self.dtype)
        # One parallel copy from the system's cache into the batch.
        return torch.stack([self._map(volume)[k] for volume, k in self.where[rows.numpy()].tolist()])[:, None]

    def _map(self, volume: int) -> Tensor:
        """(K, H, W) of one volume, mapped when first asked for."""
        if volume not in self._maps:
            if len(self._maps) >= MAPS:
                self._maps.clear()
            self._maps[volume] = self._opened(volume)
        return self._maps[volume]

    def _opened(self, volume: int) -> Tensor:
        path, before = self.files[volume], self.offsets[volume] // self.dtype.itemsize
        plane = int(np.prod(self.shape[2:]))
        whole = path.stat().st_size // self.dtype.itemsize
        last = int(self.where[self.where[:, 0] == volume, 1].max())
        if whole < before + (last + 1) * plane:
            raise RunError(f"{path.name} is shorter than its header says; delete it and run again")
        voxels = torch.from_file(str(path), False, whole, dtype=self.dtype)[before:]
        return voxels[: len(voxels) // plane * plane].view(-1, *self.shape[2:])

    @property
    def device(self) -> torch.device:
        """Where indexing puts what it reads."""
        return torch.device("cpu")

    @property
    def nbytes(self) -> int:
        """Size on disk, headers left out."""
        return int(np.prod(self.shape)) * self.dtype.itemsize


def load_slices(
    store: Path,
    manifest: pd.DataFrame,
    cohort: pd.DataFrame,
    labels: pd.DataFrame,
    roles: Sequence[str],
    answers: Sequence[Output],
    per_patient: int | None = None,
    memory: int | None = None,
) -> CohortTensors:
    """The slices (along k) of the store's volumes, in memory if they fit in half of what is free.

    Args:
        store: Folder of the volumes; their numbers of slices may differ.
        manifest: Its manifest.
        cohort: Rows of cohort.csv.
        labels: Long label table.
        roles: Whose slices are pooled.
        answers: Outputs, whose columns are those of `targets`.
        per_patient: At most so many of a patient, evenly over roles and places.
        memory: Bytes that are free; default: what the machine says.

    Returns:
        `exams` has a row per slice: those of cohort.csv, role, and slice, counted from 0 in the
        prepared volume.

    Raises:
        CohortError: Nothing was prepared, or slices differ in size.
    """
    files = manifest[manifest["status"] == "ok"].set_index(["exam_id", "role"])["file"]
    reasons = manifest[manifest["status"] != "ok"].groupby("exam_id")["reason"].first()
    failed: dict[str, str] = {}
    found: list[tuple[int, str, Path]] = []  # row of cohort, role, file
    for position, exam in enumerate(cohort["exam_id"]):
        have = [(position, r, store / files[exam, r]) for r in roles if (exam, r) in files.index]
        found += have
        if not have:
            failed[exam] = str(reasons.get(exam, "no volume was prepared"))
    if not found:
        why = "; ".join(sorted(set(failed.values()))[:3])
        raise CohortError(f"not one exam could be prepared: {why}")
    headers = [_header(path) for *_, path in found]
    size, dtype = _plane(headers)
    counts = [h["shape"][2] for h in headers]
    table = pd.DataFrame(found, columns=["position", "role", "volume"]).assign(volume=range(len(found)))
    table = table.loc[table.index.repeat(counts)].assign(slice=np.concatenate([np.arange(n) for n in counts]))
    table = table.reset_index(drop=True)
    table["patient_id"] = cohort["patient_id"].to_numpy()[table["position"]]
    if per_patient is not None:
        table = table.loc[np.sort(np.concatenate(evenly(table, per_patient)))]
    where = table[["volume", "slice"]].to_numpy()
    paths, offsets = [path for *_, path in found], [h["offset"] for h in headers]
    images: Images = StoredSlices(paths, offsets, where, (len(where), 1, size[1], size[0]), dtype)
    if any(h["plain"] is False for h in headers) or images.nbytes <= MEMORY_SHARE * (
        available_memory() if memory is None else memory
    ):
        images = _in_memory(paths, where, images)
    exams = cohort.iloc[table["position"]].reset_index(drop=True)
    exams = exams.assign(role=table["role"].to_numpy(), slice=table["slice"].to_numpy())
    wanted = output_values(labels, exams["patient_id"], answers).astype(np.float32)
    i, j, k = (float(v) for v in np.median([h["spacing"] for h in headers], axis=0))
    return CohortTensors(
        exams, images, torch.ones(len(exams), 1), torch.from_numpy(wanted), failed, tuple(names_of(answers)), (i, j, k)
    )


def evenly(table: pd.DataFrame, most: int) -> list[np.ndarray]:
    """For each patient the index of at most `most` rows: each from the middle of an equal share of them.

    Args:
        table: With patient_id, its rows in the order of roles and places.
        most: At least 1.
    """
    return [
        rows.index.to_numpy()[((np.arange(min(most, len(rows))) + 0.5) * len(rows) / min(most, len(rows))).astype(int)]
        for _, rows in table.groupby("patient_id", sort=False)
    ]


def _header(path: Path) -> dict[str, Any]:
    import nibabel as nib

    image: Any = nib.load(path)
    kind = image.get_data_dtype()
    return {
        "shape": tuple(int(n) for n in image.shape),
        "spacing": image.header.get_zooms()[:3],
        "dtype": np.dtype(np.uint8 if kind == np.uint8 else np.float32),
        "offset": int(image.dataobj.offset),
        "plain": kind in SIZE and kind.isnative and image.dataobj.slope == 1 and image.dataobj.inter == 0,
    }


def _plane(headers: list[dict[str, Any]]) -> tuple[tuple[int, int], torch.dtype]:
    """Common size along i and j, and type; 8-bit volumes among others are read as numbers."""
    sizes = {h["shape"][:2] for h in headers}
    if len(sizes) > 1:
        raise CohortError(
            f"prepared slices differ in size, e.g. {sorted(sizes)[:3]}; put {{name: resize, options: {{shape: "
            "[224, 224, null]}} into preprocess so that all fit one network"
        )
    kinds = {h["dtype"] for h in headers}
    if len(kinds) > 1:
        raise CohortError("some prepared volumes are 8-bit and others are not; end preprocess with zscore_slices")
    return sizes.pop(), SIZE[kinds.pop()]


def _in_memory(paths: list[Path], where: np.ndarray, images: Images) -> Tensor:
    """(N, 1, H, W), each volume read once; rows of one volume stand together."""
    out = torch.empty(tuple(images.shape), dtype=images.dtype)
    begins = np.flatnonzero(np.diff(where[:, 0], prepend=-1))
    for begin, end in zip(begins, [*begins[1:], len(where)], strict=True):
        volume = read_nifti_stored(paths[where[begin, 0]])
        out[begin:end, 0] = torch.from_numpy(np.ascontiguousarray(volume[where[begin:end, 1]]))
    return out
