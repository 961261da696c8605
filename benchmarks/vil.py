"""`make bench`: Vision-LSTM beside a vision transformer of equal width and depth, at 196 tokens.

A training step is forward, backward and Adam on a batch that stays, on slices of 224 x 224 in patches of 16. On a CPU
one thread works and its processor time is counted; memory is the peak of a process of its own, less what it held
before the network was built. glibc keeps most of what is freed, in pieces; so the peak is measured once with every
tensor above 128 kB mapped by itself, which is what tensors need, and once as the process is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from step import seconds
from timing import peak_mb

BATCH = 8
STEPS = 3
ROUNDS = 5
HEAD_WIDTH = 64
# width, blocks of ViL, blocks of ViT
PAIRS = [(192, 12, 12), (384, 12, 12), (192, 24, 12)]


def device() -> str:
    """Where it is measured."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def stepper(name: str, width: int, depth: int) -> Callable[[], None]:
    """One training step of a network that stays."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    from scan2gene.models import MODELS

    options = {"width": width, "depth": depth} | ({"heads": width // HEAD_WIDTH} if name == "vit2d" else {})
    model: Any = MODELS[name](1, 4, **options).to(device())
    optimizer = torch.optim.Adam(model.parameters())
    x = torch.randn(BATCH, 1, 224, 224, device=device())
    y = (torch.arange(BATCH * 4, device=device()) % 2).float().reshape(BATCH, 4)

    def step() -> None:
        binary_cross_entropy_with_logits(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def memory_mb(name: str, width: int, depth: int) -> float:
    """Peak of `STEPS` steps, in this process."""
    import torch

    torch.set_num_threads(1)
    before = peak_mb()
    step = stepper(name, width, depth)
    for _ in range(STEPS):
        step()
    if device() == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return peak_mb() - before


def in_child(name: str, width: int, depth: int, mapped: bool) -> float:
    """`memory_mb` in a process of its own, whose freed tensors go back at once if they are `mapped`."""
    words = [sys.executable, __file__, name, str(width), str(depth)]
    around = os.environ | ({"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_MMAP_MAX_": "1000000"} if mapped else {})
    return float(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, env=around).stdout))


def times(width: int, blocks: tuple[int, int]) -> np.ndarray:
    """Seconds of a step of ViL and of ViT, in turns; median of each and of their ratio."""
    works = [stepper("vil", width, blocks[0]), stepper("vit2d", width, blocks[1])]
    table = np.array([[seconds(work, device()) for work in works] for _ in range(ROUNDS + 1)])[1:]
    return np.median(np.column_stack([table, table[:, 0] / table[:, 1]]), axis=0)


def lines() -> list[str]:
    """The table for RESULTS.md."""
    import torch

    torch.set_num_threads(1)
    rows = [
        f"| a training step of {BATCH} slices, 196 tokens, {device()} | ViL, ms | ViT, ms | ratio | ViL, MB | ViT, MB "
        "| ratio | with what glibc keeps |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for width, *blocks in PAIRS:
        ours, theirs, ratio = times(width, (blocks[0], blocks[1]))
        (vil, vit), (vil_kept, vit_kept) = (
            [in_child(name, width, depth, mapped) for name, depth in zip(("vil", "vit2d"), blocks, strict=True)]
            for mapped in (True, False)
        )
        alike = blocks[0] == blocks[1]
        depth = f"{blocks[0]} blocks each" if alike else f"{blocks[0]} blocks of ViL, {blocks[1]} of ViT"
        rows.append(
            f"| width {width}, {depth} | {ours * 1000:.0f} | {theirs * 1000:.0f} | {ratio:.2f} | {vil:.0f} | {vit:.0f} "
            f"| {vil / vit:.2f} | {vil_kept / vit_kept:.2f} |"
        )
    return [
        *rows,
        "",
        "Memory is the peak with weights, gradients and Adam's averages, less what the process held before; the last "
        "column is its resident memory as it is, freed pieces included. A block of ViL has about half the weights of "
        "one of ViT: the last line is ViL-T beside ViT-Ti as their papers have them.",
    ]


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(memory_mb(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    else:
        print("\n".join(lines()))
