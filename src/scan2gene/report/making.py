"""How the networks came about: preprocessing, training, what failed, and what it takes to repeat it."""

from __future__ import annotations

import base64
import datetime
import importlib
import importlib.metadata
import platform
from typing import Any

import numpy as np
import pandas as pd
import yaml

from scan2gene.core.study import Run, for_run, study_hash
from scan2gene.core.tables import read_csv
from scan2gene.report import figures
from scan2gene.report.inputs import Inputs
from scan2gene.report.redaction import grouped, settings

PREVIEW_BYTES = 8_000_000  # of all previews; base64 adds a third, and the page stays below 15 MB
HARDLY_TRAINED = 3
PACKAGES = (
    "numpy", "pandas", "scipy", "pydicom", "nibabel", "SimpleITK", "torch", "lightning-fabric", "scikit-learn",
)  # fmt: skip
STAGES = ("index", "curate", "preprocess", "split", "train", "predict", "evaluate")


def preprocessing(inputs: Inputs) -> list[dict[str, Any]]:
    """Each different store once: its steps, its volumes, its pictures."""
    runs = {run.name: run for run in inputs.study.runs}
    by_folder: dict[Any, list[str]] = {}
    for name, folder in inputs.stores.items():
        by_folder.setdefault(folder, []).append(name)
    stores, room = [], PREVIEW_BYTES
    for folder, names in by_folder.items():
        manifest = read_csv(folder / "manifest.csv")
        ready = manifest[manifest["status"] == "ok"]
        pictures, left = [], 0
        for path in sorted((folder / "preview").glob("*.png")):
            if path.stat().st_size > room:
                left += 1
                continue
            room -= path.stat().st_size
            pictures.append("data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii"))
        shapes = ready.groupby(["role", "shape", "spacing_mm"]).size().rename("n").reset_index()
        shapes = shapes.sort_values(["n", "role"], ascending=[False, True])
        stores.append(
            {
                "id": folder.name,
                "runs": names,
                "steps": for_run(inputs.study, runs[names[0]]).preprocess,
                "ok": len(ready),
                "failed": len(manifest) - len(ready),
                "shapes": list(shapes.head(8).itertuples(index=False, name=None)),
                "n_shapes": len(shapes),
                "pictures": pictures,
                "not_embedded": left,
            }
        )
    return stores


def training(inputs: Inputs) -> list[dict[str, Any]]:
    """Per run and split: fits, epochs, seconds, loss curves, and what looks wrong."""
    seconds = {s["stage"]: s["seconds"] for s in inputs.stamps if "seconds" in s}
    found = []
    for run in inputs.study.runs:
        for split in inputs.study.splits:
            keys = [f"train/{run.name}/{split.name}-r{r}-f{f}" for r, f in inputs.folds(split.name)]
            timed = [seconds[k] for k in keys if k in seconds]
            fits = [_fit(r, f, table) for r, f, table in inputs.history(run.name, split.name)]
            fits = [fit for fit in fits if fit["best"]]
            found.append(
                {
                    "run": run.name,
                    "split": split.name,
                    "model": run.model.name,
                    "fits": len(keys),
                    "seconds": duration(sum(timed)) if timed else "not recorded",
                    "epochs": _spread([len(fit["epoch"]) for fit in fits]),
                    "best": _spread([fit["best"] for fit in fits]),
                    "by_fold": fits,
                    "notes": _training_notes(inputs, run, fits),
                    "svg": _loss_figure(run.name, split.name, fits),
                }
            )
    return found


def _fit(repeat: int, fold: int, table: pd.DataFrame) -> dict[str, Any]:
    columns = {c: table[c].to_numpy(float) for c in ("epoch", "train_loss", "validation_loss")}
    best = table.loc[table["best"] == 1, ["epoch", "validation_loss"]]
    return {
        "repeat": repeat,
        "fold": fold,
        "best": int(best["epoch"].iloc[-1]) if len(best) else 0,
        "loss": float(best["validation_loss"].iloc[-1]) if len(best) else None,
        **columns,
    }


def _training_notes(inputs: Inputs, run: Run, fits: list[dict[str, Any]]) -> list[str]:
    if not fits:
        return []
    notes = []
    best = [fit["best"] for fit in fits]
    if max(best) <= HARDLY_TRAINED:
        notes.append(
            f"Hardly trained: no fit improved on validation after epoch {max(best)}. "
            "A poor figure may be a failure to train, not absence of signal."
        )
    train = for_run(inputs.study, run).train
    cut = sum(len(fit["epoch"]) >= train.epochs and train.epochs - fit["best"] < train.patience for fit in fits)
    if cut:
        notes.append(
            f"{cut} of {len(fits)} fits were stopped by the limit of {train.epochs} epochs, not by early stopping; "
            "longer training might still have lowered their validation loss."
        )
    return notes


def _loss_figure(run: str, split: str, fits: list[dict[str, Any]]) -> Any:
    if not fits:
        return ""
    told = f"{len(fits)} fits; best epochs {_spread([f['best'] for f in fits])}"
    return figures.losses(fits, f"Training and validation loss of {run}, split {split}", told)


def _spread(values: list[int]) -> str:
    if not values:
        return ""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}, median {np.median(values):g}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def failures(inputs: Inputs) -> dict[str, Any]:
    """Volumes that could not be prepared and exams without a prediction, with reasons and counts."""
    volumes = []
    for folder in dict.fromkeys(inputs.stores.values()):
        manifest = read_csv(folder / "manifest.csv")
        lost = manifest[manifest["status"] != "ok"]
        for role, part in lost.groupby("role"):
            reasons = part["reason"].fillna("no reason given").value_counts()
            volumes += [(folder.name, role, r, n) for r, n in grouped(reasons.items(), inputs.hide)]
    table = inputs.predictions
    lost = table[table["status"] != "ok"].drop_duplicates(["run_id", "exam_id"])
    exams = []
    for run, part in lost.groupby("run_id"):
        reasons = part["reason"].replace("", "no reason given").fillna("no reason given").value_counts()
        exams += [(run, r, n) for r, n in grouped(reasons.items(), inputs.hide)]
    return {"volumes": volumes, "exams": exams, "n_exams": table["exam_id"].nunique()}


def reproduce(inputs: Inputs) -> dict[str, Any]:
    """Command, settings, versions, platform, date, time per stage."""
    study = inputs.study
    shown = settings(study, inputs.hide)
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)
    # not `from scan2gene import`: the package names the pipeline, and the import contract would see torch behind it
    own = importlib.import_module("scan2gene").__version__
    versions = {"Python": platform.python_version(), "scan2gene": own} | {p: _version(p) for p in PACKAGES}
    return {
        "command": f"scan2gene run {study.name}.yaml",
        "settings": text,
        "hidden": "[id]" in text or "[path]" in text,
        "seed": study.seed,
        "hash": study_hash(study),
        "versions": versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "times": _times(inputs),
        "licences": study.licences,
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _times(inputs: Inputs) -> list[tuple[str, str]]:
    """Seconds by stage, where the stamps tell; stamps of runs and stores no longer in the study are passed over."""
    live = {run.name for run in inputs.study.runs} | {folder.name for folder in inputs.stores.values()}
    spent: dict[str, float] = {}
    for stamp in inputs.stamps:
        stage, _, rest = stamp["stage"].partition("/")
        if "seconds" in stamp and (not rest or rest.split("/")[0] in live):
            spent[stage] = spent.get(stage, 0.0) + stamp["seconds"]
    return [(s, duration(spent[s]) if s in spent else "not recorded") for s in STAGES]
