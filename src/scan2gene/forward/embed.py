"""Embeddings of a cohort, and the table that keeps them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scan2gene.core.console import Progress
from scan2gene.core.tables import write_parquet
from scan2gene.data.images import to_input
from scan2gene.data.samples import Samples


@torch.inference_mode()
def embed(model: Any, data: Samples, batch_size: int, precision: str = "32-true") -> Tensor:
    """What a network's head would see of every exam, in evaluation mode and without augmentation.

    The next batch is read while one is computed, and no more than these two are held.

    Args:
        model: With `forward_features` and `pool`; its device is used.
        data: The cohort; its images may stay on disk.
        batch_size: Exams per pass.
        precision: "32-true", or "bf16-mixed" or "16-mixed" for a GPU.

    Returns:
        (N, F) float32, in the order of `data.table`.
    """
    device = next(model.parameters()).device
    model.eval()
    chosen = list(torch.arange(len(data.table)).split(batch_size))
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision)
    parts: list[Tensor] = []
    progress = Progress("embedding", len(data.table))
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(data.images.__getitem__, chosen[0])
        for number, rows in enumerate(chosen):
            images = coming.result()
            if number + 1 < len(chosen):
                coming = reader.submit(data.images.__getitem__, chosen[number + 1])
            x = to_input(images.to(device, non_blocking=True), data.present[rows].to(device))
            with torch.autocast(device.type, half) if half else nullcontext():
                vectors = model.pool(model.forward_features(x))
            parts.append(vectors.float().cpu())
            progress.tell(int(rows[-1]) + 1)
    return torch.cat(parts)


def write_embeddings(path: Path, exams: pd.DataFrame, vectors: Tensor) -> None:
    """Keep embeddings: exam_id, or of slices unit_id (exam:role:slice), and `embedding`, a list of F float32."""
    name, units = _units(exams)
    write_parquet(path, pd.DataFrame({name: units, "embedding": list(vectors.numpy())}))


def read_embeddings(path: Path, exams: pd.DataFrame) -> Tensor | None:
    """(N, F) in the order of `exams`; None when the file is not there, damaged, or of other exams."""
    name, units = _units(exams)
    try:
        table = pd.read_parquet(path).set_index(name)["embedding"]
    except Exception:  # readers raise many kinds for a damaged file; it is made anew
        return None
    if not table.index.is_unique or not set(units) <= set(table.index):
        return None
    return torch.from_numpy(np.stack(table.loc[units].to_list()).astype(np.float32))


def _units(exams: pd.DataFrame) -> tuple[str, list[str]]:
    """What names a row, and its values."""
    if not {"role", "slice"} <= set(exams.columns):
        return "exam_id", exams["exam_id"].tolist()
    named = (exams[c].astype(str) for c in ("exam_id", "role", "slice"))
    return "unit_id", [":".join(parts) for parts in zip(*named, strict=True)]
