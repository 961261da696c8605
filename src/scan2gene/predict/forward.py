"""Networks to logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from scan2gene.data.cohort import CohortTensors, StoredImages, to_input


@torch.inference_mode()
def forward(
    model: nn.Module,
    data: CohortTensors,
    rows: Sequence[int],
    batch_size: int,
    images: Tensor | StoredImages | None = None,
) -> np.ndarray:
    """Logits of some exams, in evaluation mode.

    Args:
        model: Takes (B, R, D, H, W) and (B, R); its device is used.
        data: The cohort.
        rows: Positions in `data.exams`.
        batch_size: Exams per pass.
        images: `data.images` where they are used from; default: where they are.

    Returns:
        (len(rows), T) float64.
    """
    device = next(model.parameters()).device
    images = data.images if images is None else images
    training = model.training
    model.eval()
    parts: list[Tensor] = []
    for start in range(0, len(rows), batch_size):
        chosen = torch.as_tensor(list(rows[start : start + batch_size]))
        present = data.present[chosen].to(device)
        logits = model(to_input(images[chosen.to(images.device)].to(device), present), present)
        parts.append(logits.double().cpu())
    model.train(training)
    return torch.cat(parts).numpy() if parts else np.empty((0, data.targets.shape[1]))
