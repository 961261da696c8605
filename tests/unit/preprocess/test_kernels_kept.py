"""Machine code is compiled once for an installation, not once for a process."""

from __future__ import annotations

import os
import subprocess
import sys

ALL_KERNELS = """
import numpy as np
from scan2gene.preprocess import components, grey, spline

array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
components.large_components(array > 20)
grey.histogram(array, 0, 59, 16)
grey.looked_up(array, 0, 59, np.zeros(16, np.uint8))
spline.resample_spline(array, (2, 3, 4), (1.5, 1.3, 1.2), (0, 59), np.uint8)
"""


def test_a_second_process_compiles_nothing(tmp_path):
    def compiled() -> dict[str, int]:
        subprocess.run(
            [sys.executable, "-c", ALL_KERNELS], check=True, env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        )
        return {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*.nbc")}

    first = compiled()
    assert len(first) == 8  # the kernels of the four files, each for one number type
    assert compiled() == first
