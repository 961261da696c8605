"""Killed at random moments and started again, a study ends bit for bit like an unbroken one.

`make kills` kills 50 times; the suite 8 times.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import torch

from tests.integration.road import nifti_study

KILLS = int(os.environ.get("SCAN2GENE_KILLS", "8"))
PER_RUN = 8  # kills of one run directory; further ones strike the next directory

# A process that has imported everything and then forks: each start costs milliseconds, not seconds. A kill comes
# after a random time, or just before a random rename or removal of a file, since only these change what a start finds.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import lightning_fabric, matplotlib.pyplot, sklearn.linear_model, torch.optim.swa_utils  # not once per start
import scan2gene.stages.pipeline, scan2gene.preprocess.store, scan2gene.report.page, scan2gene.train.loop
import scan2gene.evaluate.embedding_map
scan2gene.evaluate.embedding_map.UMAP_EXAMS = 10**6  # UMAP compiles for ten seconds in every process

study, folder, kills, per_run = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
chance = random.Random(20)

def child(out, strike=0):
    seen = 0
    def count(event, args):
        nonlocal seen
        if event in ("os.rename", "os.remove") and str(args[0]).startswith(str(out)):
            seen += 1
            if seen == strike:
                os.kill(os.getpid(), signal.SIGKILL)
    pid = os.fork()
    if pid:
        return pid
    try:
        sys.addaudithook(count)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        scan2gene.run(study, out)
        if not strike:
            (folder / "changes").write_text(str(seen))
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)

started = time.perf_counter()
assert os.waitpid(child(folder / "unbroken"), 0)[1] == 0
seconds, changes = time.perf_counter() - started, int((folder / "changes").read_text())
told, number = [], 0
while len(told) < kills:
    out, struck, number = folder / f"killed-{number}", 0, number + 1
    while True:
        last = struck == per_run or len(told) == kills
        by_time = chance.random() < 0.5
        strike = 0 if last or by_time else chance.randint(1, max(2 * changes // per_run, 1))
        pid = child(out, strike)
        if by_time and not last:
            time.sleep(chance.random() * 2.5 * seconds / per_run)
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            struck += 1
            told.append("time" if by_time else "file")
            continue
        assert status == 0, status
        break
print(json.dumps({"seconds": seconds, "changes": changes, "kills": told, "directories": number}))
"""
ALL_STATE = {
    "train": {"epochs": 6, "patience": None, "ema": 0.8, "schedule": {"name": "one_cycle"}},
    "data": {
        "batch_size": 4,
        "augment": [{"name": "flip"}, {"name": "noise", "options": {"std": 0.1}}, {"name": "affine"}],
    },
    "splits": [{"name": "cv", "kind": "kfold", "folds": 2}],
    "explain": {"exams": 2},
    "runs": [
        {"name": "light", "model": {"name": "light_cnn", "options": {"dropout": 0.5}}},
        {
            "name": "other",
            "model": {"name": "light_cnn"},
            "train": {
                "optimizer": "sgd",
                "mixup": 0.4,
                "balanced_sampling": True,
                "schedule": {"name": "plateau"},
                "patience": 6,
            },
        },
        {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}},
    ],
}


TIMES = ("costs", "training", "models-cv-gene")  # tables that hold seconds


def contents(out: Path) -> dict[str, object]:
    """Every file of a run but for what tells times: as bytes, weights as tensors."""
    found: dict[str, object] = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = str(path.relative_to(out))
        if path.name == "history.csv":
            table = pd.read_csv(path)
            found[name] = table.drop(columns=[c for c in table if c.startswith("seconds")]).to_csv()
        elif path.stem in TIMES or path.name == "called.json":
            found[name] = ""  # seconds, and where the run lies
        elif path.parent.name == "stages":
            stamp = json.loads(path.read_text())
            sizes = {
                n: s
                for n, s in stamp["outputs"].items()
                if not n.endswith(("history.csv", ".html")) and Path(n).stem not in TIMES
            }
            # the key of the report names history.csv with its times
            found[name] = (sizes, "" if stamp["stage"] == "report" else stamp["key"])
        elif path.suffix == ".pt":
            found[name] = {k: v.numpy().tobytes() for k, v in torch.load(path, weights_only=True).items()}
        else:
            found[name] = "" if path.name == "report.html" else path.read_bytes()
    return found


def test_killed_at_random_moments_it_ends_bit_for_bit_like_an_unbroken_run(tmp_path):
    study = nifti_study(tmp_path, **ALL_STATE)
    done = subprocess.run(
        [sys.executable, "-c", KILLER, study, tmp_path, str(KILLS), str(PER_RUN)],
        capture_output=True, text=True, timeout=30 + 20 * KILLS,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    by_time = told["kills"].count("time")
    print(f"{KILLS} kills in {told['directories']} run directories, {by_time} of them by the clock; "
          f"unbroken {told['seconds']:.1f} s and {told['changes']} renames and removals")  # fmt: skip
    assert len(told["kills"]) == KILLS
    whole = contents(tmp_path / "unbroken")
    assert {"split.csv", "predictions.parquet", "metrics.csv", "experiments/light/cv-r0-f1/best.pt"} <= set(whole)
    for number in range(told["directories"]):
        killed = contents(tmp_path / f"killed-{number}")
        assert sorted(killed) == sorted(whole)
        assert [n for n in whole if killed[n] != whole[n]] == []
