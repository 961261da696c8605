"""What it takes to repeat a run, and what it cost: command, settings, versions, machine, time."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import shlex
from typing import Any

import yaml

from scan2gene import __version__
from scan2gene.core.study import study_hash
from scan2gene.core.text import duration
from scan2gene.privacy.redaction import settings
from scan2gene.report.inputs import Inputs

PACKAGES = (
    "numpy", "pandas", "scipy", "pydicom", "nibabel", "SimpleITK", "torch", "lightning-fabric", "scikit-learn",
)  # fmt: skip
STAGES = ("index", "curate", "plan", "preprocess", "split", "train", "predict", "evaluate", "explain")


def reproduce(inputs: Inputs) -> dict[str, Any]:
    """Command, settings, versions, platform, date and time per stage."""
    study, spent = inputs.study, costs(inputs)
    shown = settings(study, inputs.hide)
    text = yaml.safe_dump(shown, sort_keys=False, allow_unicode=True, width=100)
    made_by = ", ".join(sorted({s.get("version", "") for s in inputs.stamps} - {""})) or __version__
    versions = {"Python": platform.python_version(), "scan2gene": made_by} | {p: _version(p) for p in PACKAGES}
    return {
        "called": _called(inputs),
        "repeatable": study.cohort.pseudonyms is None,
        "settings": text,
        "hidden": "[id]" in text or "[path]" in text,
        "seed": study.seed,
        "hash": study_hash(study),
        "versions": versions,
        "platform": f"{platform.system()} {platform.machine()}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "times": [(r["stage"], _seconds(r["seconds"]), _seconds(r["cpu_seconds"])) for r in spent],
        "costs": spent,
        "gpus": list(dict.fromkeys(name for row in spent for name in row["gpus"])),
        "processors": list(dict.fromkeys(name for row in spent for name in row["processors"])),
        "licences": study.licences,
    }


def _called(inputs: Inputs) -> str:
    """What was typed, folders left out; empty where the run directory does not tell."""
    if not inputs.called:
        return ""
    changes = []
    for change in inputs.called["changes"]:
        key, _, value = change.partition("=")
        changes += ["--set", shlex.quote(f"{key}={inputs.hide(value)}")]
    return " ".join(["scan2gene run", shlex.quote(inputs.hide(inputs.called["study"])), *changes])


def _seconds(seconds: float | None) -> str:
    return "not recorded" if seconds is None else duration(seconds)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def costs(inputs: Inputs) -> list[dict[str, Any]]:
    """Wall time and processor time of each stage, from its stamps.

    Stamps of runs and stores no longer in the study are passed over.
    """
    live = {run.name for run in inputs.study.runs} | {folder.name for folder in inputs.stores.values()}
    rows = []
    for stage in STAGES:
        stamps = [s for s in inputs.stamps if _of_stage(s, stage, live) and "seconds" in s]
        processor = [s["cpu_seconds"] for s in stamps if "cpu_seconds" in s]
        rows.append(
            {
                "stage": stage,
                "seconds": round(sum(s["seconds"] for s in stamps), 1) if stamps else None,
                # a sum over some of the stamps would pass for the whole
                "cpu_seconds": round(sum(processor), 1) if stamps and len(processor) == len(stamps) else None,
                "processors": sorted({s["processor"] for s in stamps if "processor" in s}),
                "gpus": sorted({name for s in stamps for name in s.get("gpus", ())}),
            }
        )
    return rows


def _of_stage(stamp: dict[str, Any], stage: str, live: set[str]) -> bool:
    name, _, rest = stamp["stage"].partition("/")
    return name == stage and (not rest or rest.split("/")[0] in live)
