"""Images on disk, in memory or on a device. Here, and only here, (I, J, K) becomes (D, H, W)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from scan2gene.core.errors import RunError
from scan2gene.imaging.nifti import read_nifti

DTYPES = {np.dtype(np.uint8): torch.uint8, np.dtype(np.float32): torch.float32}
MAPS = 16_384  # volumes mapped at once; Linux allows a process 65,530 maps
WHOLE = -1  # in place of a slice number: every slice


class Images(Protocol):
    """Images of N instances: a tensor in memory or on a device, or `StoredImages`."""

    @property
    def shape(self) -> Sequence[int]:
        """(N, R, D, H, W), of slices (N, 1, H, W); sizes are 0 where instances have no common grid."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """uint8 or float32."""
        ...

    @property
    def device(self) -> torch.device:
        """Where indexing puts its result."""
        ...

    @property
    def nbytes(self) -> int:
        """Size in memory, or on disk."""
        ...

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Some of them."""
        ...


@dataclass(frozen=True)
class StoredVolume:
    """Header of a prepared volume.

    Args:
        path: An uncompressed NIfTI.
        shape: (D, H, W).
        spacing_mm: Along i, j, k.
        dtype: uint8 or float32.
        offset: Byte at which its voxels begin; None where the file holds other numbers than those to be read.
    """

    path: Path
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    dtype: np.dtype
    offset: int | None

    @classmethod
    def of(cls, path: Path) -> StoredVolume:
        """Read the header only."""
        import nibabel as nib

        image: Any = nib.load(path)
        kind = image.get_data_dtype()
        plain = kind in DTYPES and kind.isnative and image.dataobj.slope == 1 and image.dataobj.inter == 0
        return cls(
            path, tuple(int(n) for n in image.shape[::-1]), image.header.get_zooms()[:3],
            np.dtype(np.uint8 if kind == np.uint8 else np.float32), int(image.dataobj.offset) if plain else None,
        )  # fmt: skip

    def mapped(self) -> Tensor:
        """(D, H, W), memory-mapped: each slice is one run of bytes, so that reading a few costs no more than these.

        Raises:
            RunError: The file is cut short.
        """
        if self.offset is None:
            return torch.from_numpy(read_stored(self.path))
        before, count = self.offset // self.dtype.itemsize, int(np.prod(self.shape))
        whole = self.path.stat().st_size // self.dtype.itemsize
        if whole < before + count:
            raise RunError(f"{self.path.name} is shorter than its header says; delete it and run again")
        voxels = torch.from_file(str(self.path), False, whole, dtype=DTYPES[self.dtype])
        return voxels[before : before + count].view(self.shape)


@dataclass(frozen=True)
class StoredImages:
    """Images that stay on disk: indexing reads the rows that are needed.

    Args:
        volumes: V prepared volumes.
        index: (N, R, 2) volume of each instance and channel, -1 where absent, and slice number, or `WHOLE`.
        shape: (N, R, D, H, W), of slices (N, 1, H, W); without a common grid (N, R, 0, 0, 0), and then only rows of
            one grid can be read together.
        dtype: uint8 or float32.
    """

    volumes: list[StoredVolume]
    index: np.ndarray
    shape: tuple[int, ...]
    dtype: torch.dtype
    _maps: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(B, R, D, H, W), or (B, 1, H, W), of some instances."""
        return self._read(self.index[rows.numpy()], self._map)

    def in_memory(self) -> Tensor:
        """All of them, each volume read once."""
        return self._read(self.index, lru_cache(1)(lambda v: torch.from_numpy(read_stored(self.volumes[v].path))))

    def _read(self, index: np.ndarray, opened: Callable[[int], Tensor]) -> Tensor:
        """Rows of `index`; `opened` gives the (D, H, W) of a volume of which single slices are needed."""
        sizes = self._sizes(index[0]) if len(index) else self.shape[2:]
        out = np.zeros((len(index), self.shape[1], *sizes), np.uint8 if self.dtype == torch.uint8 else np.float32)
        for channels, places in zip(out, index.tolist(), strict=True):
            for channel, (volume, number) in zip(channels, places, strict=True):
                if volume >= 0:
                    channel[...] = read_stored(self.volumes[volume].path) if number == WHOLE else opened(volume)[number]
        return torch.from_numpy(out)

    def grid_of(self, row: int) -> tuple[int, ...]:
        """(D, H, W), or (H, W) of a slice, of one instance."""
        return self._sizes(self.index[row])

    def _sizes(self, places: np.ndarray) -> tuple[int, ...]:
        return self.volumes[places[:, 0].max()].shape if 0 in self.shape else self.shape[2:]

    def _map(self, volume: int) -> Tensor:
        if volume not in self._maps:
            if len(self._maps) >= MAPS or self.volumes[volume].offset is None:
                self._maps.clear()
            self._maps[volume] = self.volumes[volume].mapped()
        return self._maps[volume]

    @property
    def device(self) -> torch.device:
        """Where indexing puts its result."""
        return torch.device("cpu")

    @property
    def nbytes(self) -> int:
        """Size on disk, headers left out."""
        if 0 in self.shape:
            return sum(int(np.prod(v.shape)) for v in self.volumes) * self.dtype.itemsize
        return int(np.prod(self.shape)) * self.dtype.itemsize


def read_stored(path: Path) -> np.ndarray:
    """One prepared volume as (D, H, W), its dtype kept when it is uint8."""
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
