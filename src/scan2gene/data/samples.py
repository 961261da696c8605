"""What networks learn from: a table of instances and their images.

An instance is a volume with all roles as channels, or a slice of one role. The instances of an exam are a bag: of one
volume, or of many slices. `data.load` reads them; `predict.aggregate` joins answers about instances to answers about
exams.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd
import torch
from torch import Tensor

from scan2gene.core.console import say
from scan2gene.core.text import dimensions, file_size
from scan2gene.data.images import Images, StoredImages
from scan2gene.tasks.outputs import Output
from scan2gene.tasks.run_config import RunConfig

MEMORY_SHARE = 0.5  # of what is free that samples may take, in memory and on a device


@dataclass(frozen=True)
class SliceSampler:
    """Single slices along k, pooled over roles.

    Args:
        per_patient: At most so many of a patient, evenly over roles and places; None for all.
    """

    per_patient: int | None = None


@dataclass(frozen=True)
class Sampling:
    """Which instances of prepared exams a run sees.

    Args:
        roles: Channels of volumes in order, or the roles whose slices are pooled.
        outputs: What is to be answered, in order.
        sampler: What an instance is; None for a whole volume.
        one_grid: All volumes must have one grid; False where a batch holds a single exam.
    """

    roles: tuple[str, ...]
    outputs: tuple[Output, ...]
    sampler: SliceSampler | None = None
    one_grid: bool = True


def sampling_of(config: RunConfig) -> Sampling:
    """Of a run."""
    slices = config.data.slices
    sampler = None if slices is None else SliceSampler(slices.per_patient)
    return Sampling(tuple(config.roles), config.outputs, sampler, config.data.batch_size > 1)


@dataclass(frozen=True)
class Samples:
    """Instances of the exams that could be prepared.

    Args:
        table: N rows of cohort.csv, one for each instance; of slices also the columns role and slice, counted from 0
            in the prepared volume.
        images: (N, R, D, H, W) uint8 or float32, R roles, D = K the slice axis; an absent role is all 0. Of slices
            (N, 1, H, W); of a frozen encoder's embeddings, or of columns of cohort.csv, (N, F). In memory, or on disk
            when it does not fit.
        present: (N, R) float32, 1 where the exam has the role.
        targets: (N, T) float32, what each output should say, NaN where unknown.
        failed: exam_id -> reason, of exams that are not in `table`.
        names: Of the T outputs: `IDH`, `malignant.L`, `subtype:her2`.
        spacing_mm: Voxel size along i, j, k; the median of the cohort.
        columns: Names of the F numbers, of columns of cohort.csv and of features.
    """

    table: pd.DataFrame
    images: Images
    present: Tensor
    targets: Tensor
    failed: dict[str, str]
    names: tuple[str, ...] = ()
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    columns: tuple[str, ...] = ()
    _copies: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def grid(self) -> tuple[int, ...]:
        """(D, H, W) of volumes, (H, W) of slices, () of embeddings; zeros where volumes have no common grid."""
        return tuple(self.images.shape[2:])

    @property
    def vectors(self) -> Tensor:
        """(N, F), where instances are embeddings or columns of a table."""
        assert isinstance(self.images, Tensor) and self.images.ndim == 2
        return self.images

    def grid_of(self, row: int) -> tuple[int, ...]:
        """Like `grid`, of one instance."""
        return self.images.grid_of(row) if isinstance(self.images, StoredImages) else self.grid

    @property
    def unit(self) -> str:
        """What an instance is, in the plural."""
        return "slices" if "slice" in self.table else "exams"

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

    def description(self) -> str:
        """Number, size, type and place of the images, in words."""
        where = "in memory" if isinstance(self.images, Tensor) else "on disk, memory-mapped"
        kind = "uint8" if self.images.dtype == torch.uint8 else "float32"
        shape = dimensions(self.images.shape[1:]) if all(self.grid) else "different sizes"
        return f"{len(self.table)} {self.unit} of {shape} {kind}, {file_size(self.images.nbytes)}, {where}"


def stored_as_uint8(data: Samples) -> bool:
    """True when networks see the images as -1 to 1, not as they were prepared."""
    return data.images.dtype == torch.uint8
