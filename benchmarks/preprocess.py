"""`make bench`: the BRCA preprocessing of one exam beside MONAI, B-spline resampling beside SimpleITK and TorchIO.

Each side of the first comparison runs in a process of its own, so that peak memory is its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from timing import RUNS, once, peak_mb

CPUS = 2


def ours(folder: Path, out: Path) -> dict[str, Any]:
    """120 DICOM files to a stored volume with the recipe of `breast-brca`, up to the body, cropped and equalised."""
    import pandas as pd
    import yaml

    from scan2gene.core.section import Plugin
    from scan2gene.core.study_cohort import Role
    from scan2gene.preprocess.store import build_store
    from scan2gene.recipes import recipe_text

    steps = [Plugin.model_validate(s) for s in yaml.safe_load(recipe_text("breast-brca"))["preprocess"]]
    recipe = steps[: [s.name for s in steps].index("crop_or_pad")]
    assert {"equalise", "remove_background"} <= {s.name for s in recipe}
    exams = pd.DataFrame([{"patient_id": "BENCH", "exam_id": "1", "role:t1c": "s"}])
    roles = {"t1c": Role(match={"path": "."})}
    runs = iter(range(100))

    def work() -> None:
        manifest = build_store(out / str(next(runs)), exams, {"s": str(folder)}, roles, recipe)
        assert list(manifest["status"]) == ["ok"], manifest["reason"].tolist()

    return measured(work)


def theirs(folder: Path, out: Path) -> dict[str, Any]:
    """The same steps with MONAI's dictionary transforms."""
    import torch
    from monai import transforms as mt

    torch.set_num_threads(CPUS)
    keys = ["image"]
    chain = mt.Compose(
        [
            mt.LoadImaged(keys, reader="PydicomReader"),
            mt.EnsureChannelFirstd(keys),
            mt.ScaleIntensityd(keys, minv=0, maxv=255),
            mt.Orientationd(keys, axcodes="LAS"),
            mt.Spacingd(keys, pixdim=(1.1, 1.1, 3.0), mode=3, padding_mode="mirror"),
            mt.HistogramNormalized(keys, num_bins=256, min=0, max=255),
            mt.CopyItemsd(keys, names=["body"]),
            mt.Lambdad(["body"], lambda image: image > 127),
            mt.KeepLargestConnectedComponentd(["body"], connectivity=3),
            mt.MaskIntensityd(keys, mask_key="body"),
            mt.CropForegroundd(keys, source_key="body"),
            mt.SaveImaged(keys, output_dir=out, output_ext=".nii", output_dtype="uint8", print_log=False),
        ]
    )
    return measured(lambda: chain({"image": str(folder)}))


def measured(work: Callable[[], Any]) -> dict[str, Any]:
    """Imports are done by the first call, so the memory before it is that of the modules loaded so far."""
    baseline = peak_mb()
    first = once(work)
    memory = peak_mb()  # of one exam; later calls find fragments of it
    return {"baseline": baseline, "first": first, "peak": memory, "seconds": [once(work) for _ in range(RUNS)]}


def child(side: str, folder: Path, **environment: str) -> dict[str, Any]:
    """One side in its own process."""
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run(
            [sys.executable, __file__, side, str(folder), out],
            check=True, stdout=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip
        return json.loads(done.stdout.splitlines()[-1])


def _pooled(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Medians over processes; of the seconds, over all their exams."""
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def chain_rows(folder: Path) -> list[str]:
    """The table of the whole chain."""
    with tempfile.TemporaryDirectory() as cache:
        compiling = child("ours", folder, NUMBA_CACHE_DIR=cache)["first"]
    rounds = [(child("ours", folder), child("theirs", folder)) for _ in range(2)]
    mine, monai = (_pooled(runs) for runs in zip(*rounds, strict=True))
    rows = [
        f"| {name} | {m['seconds']:.2f} | {m['seconds'] / mine['seconds']:.1f} | {m['first']:.2f} | {m['peak']:.0f} "
        f"| {m['baseline']:.0f} |"
        for name, m in (("scan2gene, into the store", mine), ("MONAI dictionary transforms", monai))
    ]
    return [
        "| one exam, 120 DICOM files of 512 x 512 to a stored volume | seconds | ratio | first exam of a process, s "
        "| peak memory, MB | of which before it, MB |",
        "|---|---|---|---|---|---|",
        *rows,
        "",
        "Read, min-max to uint8, LAS, B-spline to 1.1 x 1.1 x 3.0 mm, equalise, largest component, crop, save; the "
        "store also writes its manifest and checksum. MONAI's body is everything above 127 after equalisation; ours "
        "is what lies above the noise of the air before it, holes filled, and equalisation counts its voxels. "
        f"The very first exam of an installation compiles for {compiling - mine['first']:.1f} s more.",
    ]


def child_lines(name: str) -> list[str]:
    """What one benchmark file prints, in a process of its own."""
    path = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run([sys.executable, path], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.splitlines()


def main() -> None:
    """Time all and write benchmarks/RESULTS.md."""
    on_gpu = child_lines("gpu")  # with every core, which its loaders may need
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CPUS])
    import feeding
    import indexing
    import starting
    from exam import write_exam
    from resampling import BORDER, rows

    with tempfile.TemporaryDirectory() as name:
        write_exam(Path(name))
        chain = chain_rows(Path(name))
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench`; one run, {CPUS} cores; medians of {RUNS} rounds in turns after a warm-up.",
        "",
        *chain,
        "",
        "## Indexing",
        "",
        *indexing.lines(),
        "",
        "## Preparing a cohort of slices",
        "",
        *child_lines("cohort"),
        "",
        "## Feeding a network",
        "",
        *feeding.lines(),
        "",
        "## Feeding a network with slices",
        "",
        *child_lines("slices"),
        "",
        "## A training step",
        "",
        *child_lines("step"),
        "",
        "## Embedding a cohort",
        "",
        *child_lines("embedding"),
        "",
        "## Vision-LSTM",
        "",
        *child_lines("vil"),
        "",
        "## Training on a GPU",
        "",
        *on_gpu,
        "",
        "## Radiomics features",
        "",
        *child_lines("texture"),
        "",
        "## Bootstrap",
        "",
        *child_lines("bootstrap"),
        "",
        "## Starting",
        "",
        *starting.lines(),
        "",
        "## Cubic B-spline resampling",
        "",
        *rows(),
        "",
        f"Difference: the largest, a border of {BORDER} voxels (a quarter of a short axis) left out, as a share of the "
        "largest voxel; of whole numbers before scan2gene rounds them. SimpleITK is asked for float32 then, TorchIO "
        "cuts the decimals off and so differs by up to one grey level. The last case is not along "
        "the voxel axes; there scan2gene hands over to SimpleITK.",
    ]
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "RESULTS.md").write_text(text)
    print(text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps({"ours": ours, "theirs": theirs}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))))
    else:
        main()
