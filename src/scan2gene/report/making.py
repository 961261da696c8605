"""How the networks came about: preprocessing, training, what failed."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.rundir import StoreDirectory
from scan2gene.core.study_runs import Run, Train
from scan2gene.core.text import count_range, duration
from scan2gene.evaluate.underfit import TrainingFinding, training_findings, validation_patients
from scan2gene.imaging.picture import data_uri
from scan2gene.preprocess.notes import SEPARATOR
from scan2gene.preprocess.preview import KEPT, STEP
from scan2gene.privacy.redaction import grouped
from scan2gene.report import curves
from scan2gene.report.inputs import Inputs, monitor_text
from scan2gene.tasks.run_config import resolve, resolved

PREVIEW_BYTES = 3_600_000  # of all previews; base64 adds a third, and the page stays below 15 MB
EXAMPLE_BYTES = 700_000  # of all pictures of augmentation
HARDLY_TRAINED = 3


def preprocessing(inputs: Inputs) -> list[dict[str, Any]]:
    """Each different store once: its steps, its volumes, its pictures."""
    runs = {run.name: run for run in inputs.study.runs}
    by_folder: dict[Any, list[str]] = {}
    for name, folder in inputs.stores.items():
        by_folder.setdefault(folder, []).append(name)
    stores, room = [], PREVIEW_BYTES
    for folder, names in by_folder.items():
        manifest = StoreDirectory(folder).manifest.read()
        ready = manifest[manifest["status"] == "ok"]
        pictures, kept, steps, left = [], [], [], 0
        for path in sorted((folder / "preview").glob("*.png")):
            if path.stat().st_size > room:
                left += 1
                continue
            room -= path.stat().st_size
            uri = data_uri(path.read_bytes(), "png")
            if path.stem.startswith(KEPT):
                kept.append((path.stem.removeprefix(KEPT), uri))
            elif path.stem.startswith(STEP):
                number, _, name = path.stem.removeprefix(STEP).partition("-")
                steps.append((int(number), name, uri))
            else:
                pictures.append(uri)
        shapes = ready.groupby(["role", "shape", "spacing_mm"]).size().rename("n").reset_index()
        shapes = shapes.sort_values(["n", "role"], ascending=[False, True])
        stores.append(
            {
                "id": folder.name,
                "runs": names,
                "steps": resolve(inputs.study, runs[names[0]]).recipe,
                "ok": len(ready),
                "failed": len(manifest) - len(ready),
                "shapes": list(shapes.head(8).itertuples(index=False, name=None)),
                "n_shapes": len(shapes),
                "notes": _step_notes(ready),
                "pictures": pictures,
                "kept": kept,
                "step_pictures": sorted(steps),
                "not_embedded": left,
            }
        )
    return stores


def _step_notes(ready: pd.DataFrame) -> list[tuple[str, int]]:
    """What steps noted and in how many exams; figures of one exam give way to the largest of all."""
    if "note" not in ready:  # a store of an older version
        return []
    noted = ready.drop_duplicates("exam_id")["note"].fillna("").str.split(SEPARATOR).map(set).explode()
    noted = noted[noted != ""]
    words = noted.str.replace(r"\d+\.\d+", "#", regex=True)
    found = []
    for text, part in noted.groupby(words.to_numpy(), sort=True):
        largest = np.max([[float(n) for n in re.findall(r"\d+\.\d+", one)] for one in part], axis=0)
        for number in largest:
            text = text.replace("#", f"at most {number:g}", 1)
        found.append((text, int(part.index.nunique())))
    return found


def augmentation(inputs: Inputs) -> list[dict[str, Any]]:
    """Each different list of augmentation that has a picture: its steps, its runs, the picture."""
    found, room = [], EXAMPLE_BYTES
    for run in inputs.study.runs:
        path = inputs.files.experiment(run.name).augmentation.path
        if not path.exists() or path.stat().st_size > room:
            continue
        room -= path.stat().st_size
        steps = resolve(inputs.study, run).data.augment
        like = [r.name for r in inputs.study.runs if r.name in inputs.stores
                and resolve(inputs.study, r).data.augment == steps]  # fmt: skip
        picture = data_uri(path.read_bytes(), "png")
        found.append({"run": run.name, "runs": like, "steps": steps, "picture": picture})
    return found


def training(inputs: Inputs) -> list[dict[str, Any]]:
    """Per run and split: fits, epochs, seconds, speed, curves, and what looks wrong."""
    seen, looked_at = _exams_of_an_epoch(inputs), _findings(inputs)
    found = []
    for run in inputs.study.runs:
        for split in inputs.study.splits:
            seconds = inputs.training_seconds(run.name, split.name)
            settings = resolve(inputs.study, run).train
            fits = [_fit(r, f, table, settings) for r, f, table in inputs.history(run.name, split.name)]
            fits = [fit for fit in fits if fit["best"]]
            found.append(
                {
                    "run": run.name,
                    "split": split.name,
                    "model": run.model.name,
                    "fits": len(inputs.folds(split.name)),
                    "seconds": "not recorded" if seconds is None else duration(seconds),
                    "speed": _speed(seen, run.name, split.name, fits),
                    "epochs": _with_median([len(fit["epoch"]) for fit in fits]),
                    "best": _with_median([fit["best"] for fit in fits]),
                    "by_fold": fits,
                    "notes": [
                        *_training_notes(inputs, run, fits),
                        *(f.sentence for f in looked_at if (f.run, f.split) == (run.name, split.name)),
                    ],
                    "svg": _loss_figure(run.name, split.name, fits, settings),
                    "accuracy": _accuracy_figure(run.name, split.name, fits),
                }
            )
    return found


def _findings(inputs: Inputs) -> list[TrainingFinding]:
    """What looks wrong about the training of each run and split."""
    histories = [
        (run.name, {"split": split.name, "repeat": repeat, "fold": fold}, table)
        for run in inputs.study.runs for split in inputs.study.splits
        for repeat, fold, table in inputs.history(run.name, split.name)
    ]  # fmt: skip
    schedules = {config.name: config.train.schedule.name for config in resolved(inputs.study)}
    return training_findings(histories, validation_patients(inputs.split), schedules)


def _exams_of_an_epoch(inputs: Inputs) -> dict[Any, int]:
    """(run, split, repeat, fold) -> exams that a network goes through in an epoch, validation included."""
    table = inputs.predictions
    used = table[table["part"].isin(["train", "validation"]) & (table["status"] == "ok") & table["y_true"].notna()]
    return used.groupby(["run_id", "split", "repeat", "fold"])["exam_id"].nunique().to_dict()


def _speed(seen: dict[Any, int], run: str, split: str, fits: list[dict[str, Any]]) -> str:
    exams = sum(seen.get((run, split, f["repeat"], f["fold"]), 0) * len(f["epoch"]) for f in fits)
    seconds = sum(f["seconds"] for f in fits)
    return f"{exams / seconds:,.3g}" if exams and seconds > 0 else ""


def _fit(repeat: int, fold: int, table: pd.DataFrame, settings: Train) -> dict[str, Any]:
    wanted = ["epoch", "train_loss", "validation_loss", "validation_auroc"]
    wanted += [c for c in table if c == "train_auroc" or c.startswith(("train_accuracy", "validation_accuracy"))]
    columns = {c: table[c].to_numpy(float) for c in wanted}
    best = table[table["best"] == 1]
    last = int(best["epoch"].iloc[-1]) if len(best) else 0

    def at_best(name: str) -> float | None:
        value = best[name].iloc[-1] if len(best) and name in table else None
        return None if value is None or pd.isna(value) else float(value)

    return {
        "repeat": repeat,
        "fold": fold,
        "best": last,
        "loss": at_best("validation_loss"),
        "learned": at_best("final_train_auroc"),
        "steps": table["steps"].iloc[-1] if "steps" in table else None,  # older versions kept neither
        "rate": table["last_rate"].iloc[-1] if "last_rate" in table else None,
        # the limit may be reached in the very epoch in which patience ends
        "early": settings.patience is not None and len(table) - last >= settings.patience,
        "seconds": float(table["seconds"].sum()),
        **columns,
    }


def _training_notes(inputs: Inputs, run: Run, fits: list[dict[str, Any]]) -> list[str]:
    train = resolve(inputs.study, run).train
    if not fits or train.patience is None:
        return []
    notes = []
    best = [fit["best"] for fit in fits]
    went_on = all(fit["epoch"][-1] > fit["best"] for fit in fits)  # where the last epoch is the best, nothing stalled
    if max(best) <= HARDLY_TRAINED and went_on:
        notes.append(
            f"Hardly trained: no fit improved on validation after epoch {max(best)}. "
            "A poor figure may be a failure to train, not absence of signal."
        )
    cut = sum(len(fit["epoch"]) >= train.epochs and not fit["early"] for fit in fits)
    if cut:
        notes.append(
            f"{cut} of {len(fits)} fits were stopped by the limit of {train.epochs} epochs, not by early stopping; "
            f"longer training might still have improved their {monitor_text(train.monitor)}."
        )
    return notes


def _loss_figure(run: str, split: str, fits: list[dict[str, Any]], settings: Train) -> Any:
    if not fits:
        return ""
    limit = settings.epochs
    told = [f"{len(fits)} fits", f"best epoch {_with_median([f['best'] for f in fits])}"]
    if settings.patience is None:
        told = [told[0], f"{limit} epochs each without early stopping, the last weights kept"]
        return curves.convergence(fits, f"Convergence of {run}, split {split}", "; ".join(told))
    early = [len(f["epoch"]) for f in fits if f["early"]]
    if early:
        told.append(f"stopped early at epoch {_with_median(early)} ({len(early)} of {len(fits)} fits)")
    if len(early) < len(fits):
        told.append(f"stopped by the limit of {limit} epochs: {len(fits) - len(early)} of {len(fits)} fits")
    return curves.convergence(fits, f"Convergence of {run}, split {split}", "; ".join(told))


def _accuracy_figure(run: str, split: str, fits: list[dict[str, Any]]) -> Any:
    """Accuracy by epoch; empty for fits of an older version, which kept none of training."""
    if not fits or not all("train_accuracy" in fit for fit in fits):
        return ""
    targets = [c.partition(":")[2] for c in fits[0] if c.startswith("train_accuracy:")]
    told = f"Training and validation accuracy at a threshold of 0.5, {len(fits)} fits"
    names = ["", *targets] if len(targets) > 1 else targets
    return curves.accuracies(fits, names, f"Accuracy of {run}, split {split}", told)


def _with_median(values: list[int]) -> str:
    return count_range(values) + (f", median {np.median(values):g}" if len(set(values)) > 1 else "")


def failures(inputs: Inputs) -> dict[str, Any]:
    """Volumes that could not be prepared and exams without a prediction, with reasons and counts."""
    volumes = []
    for folder in dict.fromkeys(inputs.stores.values()):
        manifest = StoreDirectory(folder).manifest.read()
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
