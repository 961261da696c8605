"""Features of the neighbouring grey-tone difference matrix (NGTDM): how far voxels are from their surroundings.

Source: Amadasun & King 1989, "Textural features corresponding to textural properties".
"""

from __future__ import annotations

import numpy as np

from scan2gene.features.radiomics_matrices import Counts

NAMES = ("Busyness", "Coarseness", "Complexity", "Contrast", "Strength")
FLAT = 1e6  # Coarseness where no voxel differs from its surroundings


def ngtdm(counts: Counts) -> dict[str, float]:
    """Values by `NAMES`."""
    levels, apart = counts.levels, counts.contrast
    count = float(counts.voxels.sum())
    shares = counts.voxels / count
    weighted = shares * apart
    total = float(apart.sum())
    between = levels[:, None] - levels
    size = len(levels)
    balance = float(np.abs((levels * shares)[:, None] - levels * shares).sum())
    spread = float(shares @ between**2 @ shares)
    both = shares[:, None] + shares
    return {
        "Busyness": float(weighted.sum()) / balance if balance else 0.0,
        "Coarseness": 1 / float(weighted.sum()) if total else FLAT,
        "Complexity": float((np.abs(between) * (weighted[:, None] + weighted) / both).sum()) / count,
        "Contrast": spread * total / count / (size * (size - 1)) if size > 1 else 0.0,
        "Strength": float((both * between**2).sum()) / total if total else 0.0,
    }
