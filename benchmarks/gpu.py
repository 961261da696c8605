"""`make bench`, where there is a GPU: examples a second of ResNets at 96^3, beside MONAI and the GPU's own ceilings.

`python benchmarks/gpu.py --tiny` goes through the same code on a CPU with tiny sizes; its figures mean nothing.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from feeding import monai_loader
from step import Case, images, measured, seconds

NETWORKS = ("resnet10", "resnet18", "resnet50")
NO_GPU = "No GPU on this machine: not measured."
HALF = 2  # bytes of a bfloat16


@dataclass(frozen=True)
class Scale:
    """Sizes of everything that is measured."""

    device: str
    grid: tuple[int, int, int]
    batch: int
    exams: int
    matrix: int
    copied_bytes: int
    networks: tuple[str, ...]
    workers: tuple[int, ...]
    rounds: int
    compile: bool


FULL = Scale("cuda", (96, 96, 96), 16, 96, 8192, 1 << 30, NETWORKS, (0, 4, 8), 5, True)
TINY = Scale("cpu", (32, 32, 32), 2, 4, 128, 1 << 20, NETWORKS[:1], (0,), 1, False)


def best(work: Callable[[], Any], device: str, times: int = 10) -> float:
    """Fewest seconds of some tries after a warm-up: a ceiling is what can be reached at all."""
    work()
    return min(seconds(work, device) for _ in range(times))


def ceilings(scale: Scale) -> tuple[float, float]:
    """Measured TFLOPS of a bfloat16 matrix product, and GB/s of a copy, read and write counted."""
    import torch

    a, b = (torch.randn(scale.matrix, scale.matrix, device=scale.device, dtype=torch.bfloat16) for _ in range(2))
    product = 2 * scale.matrix**3 / best(lambda: a @ b, scale.device)
    source = torch.ones(scale.copied_bytes, dtype=torch.uint8, device=scale.device)
    target = torch.empty_like(source)
    copied = 2 * scale.copied_bytes / best(lambda: target.copy_(source), scale.device)
    return product / 1e12, copied / 1e9


def work_of(case: Case) -> tuple[float, float]:
    """Floating-point operations of forward and backward per example, and the bytes that layers move.

    Bytes: what every layer reads and writes as bfloat16, forward once and backward twice. Fusing
    layers needs fewer, so the share of the copy ceiling is only a guide.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from scan2gene.models import MODELS

    model = MODELS[case.model](case.channels, 1).to(case.device)
    moved = [0]

    def count(module: Any, inputs: Any, output: Any) -> None:
        moved[0] += inputs[0].numel() + output.numel()

    for module in model.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    x = torch.randn(2, case.channels, *case.grid[::-1], device=case.device)  # two: batch statistics need them
    with FlopCounterMode(display=False) as counter:
        model(x).sum().backward()
    return counter.get_total_flops() / 2, 3 * HALF * moved[0] / 2


def monai_rate(case: Case, workers: int, rounds: int) -> float:
    """Examples a second of MONAI's network of this depth, fed by its cached pipeline, in mixed precision."""
    import torch
    from monai.networks import nets
    from torch.nn.functional import binary_cross_entropy_with_logits

    build = getattr(nets, case.model)
    # MONAI's default stem has stride 1, which is eight times the work
    model = build(spatial_dims=3, n_input_channels=case.channels, num_classes=1, conv1_t_stride=2).to(case.device)
    optimizer = torch.optim.Adam(model.parameters())
    loader = monai_loader(np.ascontiguousarray(images(case).transpose(0, 1, 4, 3, 2)), workers, case.batch)

    def epoch() -> None:
        for batch in loader:
            x = batch["image"].to(case.device, non_blocking=True)
            y = (torch.arange(len(x), device=case.device) % 2).float()[:, None]
            with torch.autocast(case.device, torch.bfloat16):
                loss = binary_cross_entropy_with_logits(model(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if case.device == "cuda":
            torch.cuda.synchronize()

    epoch()
    spent = []
    for _ in range(rounds):
        started = time.perf_counter()
        epoch()
        spent.append(time.perf_counter() - started)
    return case.exams / float(np.median(spent))


def row(scale: Scale, name: str, tflops: float, copy: float) -> str:
    """One network's line of the table."""
    case = Case(name, scale.grid, 1, scale.batch, scale.exams, scale.device, "bf16-mixed", scale.compile)
    step = measured(case, scale.rounds)
    rates = [1000 * scale.batch / ms for ms in (step.bare, step.loop, step.augmented)]
    theirs = max(monai_rate(case, w, scale.rounds) for w in scale.workers if w <= (os.cpu_count() or 1))
    operations, moved = work_of(case)
    reached, flowing = operations * rates[1] / 1e12, moved * rates[1] / 1e9
    return (
        f"| {name} | {rates[0]:.0f} | {rates[1]:.0f} | {rates[2]:.0f} | {theirs:.0f} | {rates[2] / theirs:.1f} "
        f"| {reached:.3g} ({reached / tflops:.0%}) | {flowing:.3g} ({flowing / copy:.0%}) |"
    )


def lines(scale: Scale = FULL) -> list[str]:
    """The tables for RESULTS.md, or a line that says that there is no GPU."""
    import torch

    if scale.device == "cuda" and not torch.cuda.is_available():
        return [NO_GPU]
    torch.set_float32_matmul_precision("high")
    tflops, copy = ceilings(scale)
    size = " x ".join(map(str, scale.grid))
    kind = torch.cuda.get_device_name() if scale.device == "cuda" else "a CPU, tiny sizes"
    return [
        f"On {kind}: a bfloat16 matrix product reaches {tflops:.3g} TFLOPS, a copy {copy:.3g} GB/s.",
        "",
        f"| training at {size}, batches of {scale.batch}, bf16, channels last{', compiled' * scale.compile} "
        "| bare step, examples/s | in the loop | with augmentation | MONAI, augmented, best number of workers | ratio "
        "| TFLOPS (of the product's) | layers' GB/s (of the copy's) |",
        "|---|---|---|---|---|---|---|---|",
        *(row(scale, name, tflops, copy) for name in scale.networks),
    ]


if __name__ == "__main__":
    print("\n".join(lines(TINY if "--tiny" in sys.argv else FULL)))
