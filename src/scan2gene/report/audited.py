"""The verdict of each target at the head of the page, and what the audit found."""

from __future__ import annotations

from collections import Counter
from typing import Any

from scan2gene.core.levels import MIN_GROUP_PATIENTS
from scan2gene.core.study import is_sided
from scan2gene.core.text import counted, listed
from scan2gene.evaluate.headers import to_pass_on
from scan2gene.evaluate.places import KINDS
from scan2gene.report.inputs import Inputs, estimate_of
from scan2gene.stats.intervals import Estimate
from scan2gene.tasks.outputs import target_of

MARKS = {"better": "▲", "unproven": "◆", "shortcut": "✕", "leak": "✕", "worse": "▼", "chance": "●", "unknown": "○"}
TONES = {"better": "better", "unproven": "doubt", "shortcut": "worse", "leak": "worse", "worse": "worse",
         "chance": "chance", "unknown": "unknown"}  # fmt: skip
LEGEND = {
    "▲": "better than chance and than what knows no picture",
    "◆": "better than chance, the rest not shown",
    "✕": "a shortcut or a leak",
    "●": "not told from chance",
    "▼": "below chance",
    "○": "cannot be estimated",
}
STATUS = {"clean": "nothing found", "found": "FOUND", "unknown": "not told"}
WHAT = {
    "network": "the scans as they are",
    "erased": "lesion erased",
    "background": "lesion and box around it erased",
    "only_lesion": "lesion alone, in one other scan",
    "shifted": "moved by 3 %",
    "noise": "noise added",
    "resliced": "slices blurred",
    "every_second": "every second slice alone",
    "mirrored": "left and right exchanged",
    "only_border": "border alone, around one other scan",
    "only_outside": "what lies outside every body alone, beside one other scan",
}


def verdicts(inputs: Inputs) -> list[dict[str, Any]]:
    """Target, mark, tone, headline, what it means, and the sentences behind it; empty for a run not audited."""
    return [
        {
            "target": v["target"],
            "mark": MARKS[v["kind"]],
            "tone": TONES[v["kind"]],
            "headline": v["headline"],
            "lead": inputs.hide(v["sentences"][0]) if v["sentences"] else "",
            "points": [inputs.hide(s) for s in v["sentences"][1:]],
        }
        for v in inputs.files.verdicts.read([])
    ]


def legend(found: list[dict[str, Any]]) -> str:
    """What the marks of several verdicts mean; the headline of a single one says it."""
    if len(found) < 2:
        return ""
    used = [m for m in LEGEND if any(v["mark"] == m for v in found)]
    return "; ".join(f"{m} {LEGEND[m]}" for m in used) + "." if used else ""


def audit(inputs: Inputs) -> dict[str, Any]:
    """Leakage checks, and the figures of the shortcut audit by split and target; None of it for a run without."""
    found = inputs.files.audit.read({"leakage": [], "shortcuts": []})
    checks = [c | {"told": inputs.hide(c["told"]), "says": STATUS[c["status"]]} for c in found["leakage"]]
    bad = [c["check"] for c in checks if c["status"] == "found"]
    open_ = [c["check"] for c in checks if c["status"] == "unknown"]
    figures = found["shortcuts"]
    tables = []
    for split in inputs.study.splits:
        for target in inputs.questions:
            own = [f for f in figures if (f["split"], f["target"]) == (split.name, target)]
            if own:
                tables.append({
                    "split": split.name, "target": target, "rows": _rows(own), "groups": _groups(inputs, own),
                })  # fmt: skip
    return {
        "checks": checks,
        "summary": _summary(len(checks), bad, open_),
        "tables": tables,
        "named": [
            inputs.hide(to_pass_on(f["told"]))
            for f in figures
            if f["kind"] in ("site", "scanner", "headers") and f["told"]
        ],
    }


def _summary(checks: int, bad: list[str], open_: list[str]) -> str:
    if not checks:
        return ""
    done = counted(checks - len(open_), "check")
    found = (
        f"found in {listed(bad)}"
        if bad
        else f"none found by {done} of patients, files, images, thresholds and training"
    )
    return f"Leakage: {found}." + (f" Not told: {listed(open_)}." if open_ else "")


def _rows(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Networks, what is left of them on altered copies, and the baselines; with the difference to the network."""
    rows = []
    for run in dict.fromkeys(f["run"] for f in figures if f["kind"] == "network"):
        own = [f for f in figures if f["run"] == run]
        for f in own:
            if f["kind"] in WHAT:
                rows.append(_row(f"{run}, {WHAT[f['kind']]}", f))
        for f in own:
            if f["kind"] in ("metadata", "clinical", "added", *KINDS):
                rows.append(_row(f"{f['of']} alone, beside {run}", f))
    if not rows:
        rows = [_row(f"{f['of']} alone", f) for f in figures if f["kind"] in ("metadata", "clinical")]
    return rows


def _row(what: str, figure: dict[str, Any]) -> dict[str, Any]:
    apart = Estimate(figure["difference"], figure["difference_low"], figure["difference_high"])
    return {"what": what, "estimate": estimate_of(figure), "n": figure["n"], "apart": apart, "reason": figure["reason"]}


def _groups(inputs: Inputs, figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of patients; those of very few are counted and not named, since a scanner may tell who it is."""
    rows: list[dict[str, Any]] = []
    small: Counter[tuple[str, str]] = Counter()
    for f in figures:
        if f["kind"] == "subgroup" and f["n"] < MIN_GROUP_PATIENTS:
            small[f["run"], f["of"].partition(": ")[0]] += 1
        elif f["kind"] == "subgroup":
            rows.append({"run": f["run"], "of": inputs.hide(f["of"]), "estimate": estimate_of(f), "n": f"{f['n']:,}",
                         "positive": f["n_positive"], "sides": is_sided(inputs.study, target_of(f["target"])),
                         "reason": inputs.hide(f["reason"] or "")})  # fmt: skip
    for (run, column), number in small.items():
        reason = f"groups of fewer than {MIN_GROUP_PATIENTS} patients cannot be estimated"
        rows.append({"run": run, "of": f"{column}: {number} more", "estimate": Estimate(None, reason=reason), "n": "",
                     "positive": None, "reason": reason})  # fmt: skip
    return rows
