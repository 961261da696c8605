"""The memory of training does not grow with the number of epochs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np

EPOCHS, WARM = 80, 20
LIMIT_MB = 2.0  # over 60 epochs; a batch of 160 kB kept in each would be 10 MB
# What is freed goes back to the system at once, so that the allocator's reserves are not taken for growth.
FREED_AT_ONCE = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}

# Resident memory at each validation pass, in a process of its own.
MEASURED = """
import json, sys
from pathlib import Path
import numpy as np, pandas as pd, torch
from torch import nn
from scan2gene.core.section import Plugin
from scan2gene.core.study_runs import Data, Train
from scan2gene.data.samples import Samples
from scan2gene.models import MODELS
from scan2gene.train.loop import fit_network
from tests.bare_fit import bare_fit

n, sizes = 14, []
exams = pd.DataFrame({"patient_id": range(n), "exam_id": range(n)})
images = torch.randint(0, 255, (n, 2, 16, 16, 16), dtype=torch.uint8)
data = Samples(exams, images, torch.ones(n, 2), (torch.arange(n) % 2).float()[:, None], {}, ("gene",))

class Watched(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = MODELS["light_cnn"](2, 1)

    def forward(self, x, present=None):
        if not self.training:
            status = Path("/proc/self/status").read_text()
            sizes.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
        return self.inner(x, present)

augment = [Plugin(name="flip"), Plugin(name="affine", options={"rotation_degrees": 10}), Plugin(name="noise")]
train = Train(epochs=int(sys.argv[2]), patience=1000, device="cpu", ema=0.9, mixup=0.2, clip_norm=1.0, accumulate=2)
fit = bare_fit(Path(sys.argv[1]), Data(batch_size=5, augment=augment), train, 1)
fit_network(fit, Watched, data, np.arange(10), np.arange(10, 14))
print(json.dumps(sizes))
"""


def test_memory_does_not_grow_with_epochs(tmp_path):
    words = [sys.executable, "-c", MEASURED, str(tmp_path), str(EPOCHS)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, env=os.environ | FREED_AT_ONCE)
    assert done.returncode == 0, done.stderr
    sizes = json.loads(done.stdout.splitlines()[-1])
    assert len(sizes) == EPOCHS + 2  # one validation batch an epoch, and two of the training samples at the end
    sizes = sizes[:EPOCHS]
    grown = np.median(sizes[-10:]) - np.median(sizes[WARM - 10 : WARM])
    print(f"{grown:.2f} MB more after {EPOCHS - WARM} further epochs, {sizes[-1]:.0f} MB in all")
    assert grown < LIMIT_MB
