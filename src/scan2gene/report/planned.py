"""What was chosen for the study and why, and what its patients can show at best."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scan2gene.cohorts.roles import contested
from scan2gene.evaluate.power_tables import power_warnings
from scan2gene.report.inputs import Inputs


def planned(inputs: Inputs) -> dict[str, Any]:
    """Choices of the plan, the smallest AUROC that can be told from chance, and warnings."""
    plan, power = inputs.files.plan, inputs.files.power
    chosen = choices(plan.read()) if plan.exists() else []
    rows, warnings = [], []
    if power.exists():
        table = power.read()
        numbers = [c for c in table.columns if c not in ("split", "target", "unit", "leaky")]
        table[numbers] = table[numbers].apply(pd.to_numeric)
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        warnings = list(power_warnings(table))
    if inputs.files.roles.exists():
        warnings = [*(f"{t}." for t in contested(inputs.files.roles.read())), *warnings]
    budget = inputs.files.budget.read({})
    left_out = budget.get("left_out", {}).items()
    warnings += [f"{run} was left out of the {budget['minutes']:g} minutes: {why}." for run, why in left_out]
    return {"choices": chosen, "power": rows, "warnings": warnings}


def choices(plan: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(key, what was chosen, why) of plan.json."""
    found = []
    for key, value in plan["chosen"].items():
        entries = list(value.values()) if key == "features" else value
        found.append((key, _shown(entries), plan["why"][key]))
    return found


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(entry) for entry in value)
    if value is None:
        return "none"
    return _named(value) if isinstance(value, dict) else str(value)


def _named(entry: dict[str, Any]) -> str:
    options = {k: v for k, v in entry.items() if k not in ("name", "options", "model", "preprocess")}
    options |= entry.get("options") or {}
    told = " ".join(f"{k}={v}" for k, v in options.items())
    return entry["name"] + (f" {told}" if told else "")
