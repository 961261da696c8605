"""The section on sites that a network never saw: each run inside and outside, and how patients there differ."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from scan2gene.core.study import for_run
from scan2gene.evaluate.domain import LABEL, NAMES, NUMBERS, WORDS
from scan2gene.evaluate.intervals import Estimate
from scan2gene.report.inputs import Inputs
from scan2gene.report.tables import Table

MOST = 6  # columns of a kind that are shown; the table beside the page has all
ESTIMATES = ("inside", "outside", "single", "drop", "domain", "site", "recall_inside", "recall_outside",
             "specificity_inside", "specificity_outside")  # fmt: skip
KINDS = {"label": "Labels", **{kind: name[0].upper() + name[1:] for kind, name in NAMES.items()}}


def outside(inputs: Inputs) -> dict[str, Any]:
    """Tables of runs and of differences; empty for a study that looks at no other site."""
    path = inputs.out / "audit.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    moved, shifted = found.get("transfer", []), found.get("shift", [])
    names = dict.fromkeys([run.name for run in inputs.study.runs] + [r["run"] for r in moved])
    tables = []
    for split, target, where in dict.fromkeys((r["split"], r["target"], r["where"]) for r in moved):
        own = [r for r in moved if (r["split"], r["target"]) == (split, target)]
        tables.append({
            "split": split, "target": target, "where": inputs.hide(where), "external": own[0]["kind"] == "external",
            "rows": [_run(inputs, r) for name in names for r in own if r["run"] == name],
        })  # fmt: skip
    differences = [
        {"split": split, "rows": _shown(inputs, [s for s in shifted if s["split"] == split])}
        for split in dict.fromkeys(s["split"] for s in shifted)
    ]
    return {"tables": tables, "differences": differences, "files": _files(moved, shifted) if moved else []}


def _run(inputs: Inputs, row: dict[str, Any]) -> dict[str, Any]:
    cells = {
        name: Estimate(
            row[name], row[f"{name}_low"], row[f"{name}_high"], inputs.hide(row[f"{name}_reason"] or "")
        )
        for name in ESTIMATES
    }  # fmt: skip
    prevalence = row["positive_outside"] / row["n_outside"] if row["n_outside"] else None
    return {"run": row["run"], "how": _against_sites(inputs, row["run"]), "networks": row["networks"], "n": (row["n_inside"], row["n_outside"]),
            "positive": (row["positive_inside"], row["positive_outside"]), "cells": cells,
            "told": inputs.hide(row["told"]), "commonest": row["commonest_site"], "said": row["mean_probability"],
            "prevalence": prevalence}  # fmt: skip


def _against_sites(inputs: Inputs, name: str) -> str:
    """What a run does to depend less on sites; empty for most."""
    run = next((r for r in inputs.study.runs if r.name == name), None)
    if run is None:
        return ""
    view = for_run(inputs.study, run)
    done = [view.data.harmonise.name.replace("combat", "ComBat")] if view.data.harmonise else []
    done += ["sites drawn alike"] if view.train.site_sampling else []
    return ", ".join([*done, *(["site adversary"] if view.train.site_adversary else [])])


def _shown(inputs: Inputs, shifts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Labels, each kind at once, and its columns that differ most."""
    rows = []
    for kind in dict.fromkeys(s["kind"] for s in shifts):
        own = [s for s in shifts if s["kind"] == kind]
        columns = [s for s in own if s["measure"] in (NUMBERS, WORDS)]
        for s in [s for s in own if s not in columns] + columns[:MOST]:
            rows.append({
                "kind": KINDS[kind], "what": inputs.hide(s["what"]) or "all of these at once", "measure": s["measure"],
                "label": s["measure"] == LABEL, "words": s["measure"] == WORDS,
                "inside": inputs.hide(s["inside"]), "outside": inputs.hide(s["outside"]),
                "estimate": Estimate(s["value"], s["low"], s["high"], inputs.hide(s["reason"] or "")),
            })  # fmt: skip
        if len(columns) > MOST:
            rows.append({"kind": KINDS[kind], "more": len(columns) - MOST})
    return rows


def _files(moved: list[dict[str, Any]], shifted: list[dict[str, Any]]) -> list[Table]:
    columns = ["run", "split", "target", "where", "networks", "n_inside", "positive_inside", "n_outside",
               "positive_outside", "p_drop", "mean_probability", "commonest_site"]  # fmt: skip
    columns[9:9] = [f"{name}{end}" for name in ESTIMATES for end in ("", "_low", "_high")]
    found = [Table("transfer", "Inside and at sites that no network saw, AUROC with 95 % interval",
                   pd.DataFrame(moved)[columns])]  # fmt: skip
    if shifted:
        found.append(Table("shift", "How external patients differ from those of development", pd.DataFrame(shifted)))
    return found
