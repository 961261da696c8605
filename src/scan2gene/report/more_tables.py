"""Tables of the page about the audit, the maps, a search and the plan, to be written beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from scan2gene.core.text import difference_text, estimate_text
from scan2gene.report.characteristics import COLUMNS, long_rows
from scan2gene.report.looking import MEASURES
from scan2gene.report.tables import Table
from scan2gene.stats.intervals import Estimate


def more_tables(page: dict[str, Any]) -> list[Table]:
    """Those that the page has.

    Args:
        page: What the page is made from: a key for each of its parts.
    """
    return [
        *_characteristics(page["characteristics"]),
        *_audit(page["audit"]),
        *_looking(page["looking"]),
        *_searched(page["searched"]),
        *_plan(page["plan"]),
    ]


def _table(name: str, caption: str, rows: Sequence[Any], columns: Sequence[str], shown: Any = None) -> Table:
    printed = None if shown is None else pd.DataFrame(shown, dtype=object)
    return Table(name, caption, pd.DataFrame(list(rows), columns=list(columns)), printed)


def _ends(estimate: Estimate) -> list[float | None]:
    return [estimate.value, estimate.low, estimate.high]


def _characteristics(found: dict[str, Any]) -> list[Table]:
    heads = [f"{name} (n = {n:,})" for name, n in found["groups"]]
    shown = [{"Characteristic": name, "Value": value} | {h: c[2] for h, c in zip(heads, cells, strict=True)}
             for name, value, cells in found["rows"]]  # fmt: skip
    caption = "Patients: median with quartiles, or number with its share of those in whom it is known"
    return [_table("characteristics", caption, long_rows(found), COLUMNS, shown)]


def _audit(audit: dict[str, Any]) -> list[Table]:
    checks = [(c["check"], c["status"], c["told"], c["cases"]) for c in audit["checks"]]
    found = [_table("leakage-checks", "Could tested patients have been seen in training?", checks,
                    ("check", "status", "in_words", "cases"))]  # fmt: skip
    for table in audit["tables"]:
        name, of = f"{table['split']}-{table['target']}", f"{table['target']}, split {table['split']}"
        rows = [[r["what"], *_ends(r["estimate"]), *_ends(r["apart"]), r["n"], r["reason"]] for r in table["rows"]]
        columns = ("what", "auroc", "low", "high", "difference", "difference_low", "difference_high", "n", "reason")
        shown = [
            {
                "What is seen": r["what"],
                "AUROC": estimate_text(r["estimate"]),
                "Network less this": difference_text(r["apart"]),
                "Patients": r["n"],
            }
            for r in table["rows"]
        ]
        found.append(_table(f"shortcuts-{name}", f"Could something else than the lesion give the answer? {of}", rows,
                            columns, shown))  # fmt: skip
        rows = [[r["run"], r["of"], *_ends(r["estimate"]), r["n"], r["positive"], r["reason"]] for r in table["groups"]]
        shown = [{"Run": r["run"], "Group": r["of"], "AUROC": estimate_text(r["estimate"]), "Patients": r["n"]}
                 for r in table["groups"]]  # fmt: skip
        found.append(_table(f"groups-{name}", f"Groups of patients: {of}", rows,
                            ("run", "group", "auroc", "low", "high", "n", "n_positive", "reason"), shown))  # fmt: skip
    return found


def _looking(looking: dict[str, Any]) -> list[Table]:
    place = ("run", "split", "target", "method", "n")
    scores = [[*(r[k] for k in place), *(v for m in MEASURES for v in _ends(r[m]))] for r in looking.get("scores", [])]
    columns = [*place, *(f"{m}{end}" for m in MEASURES for end in ("", "_low", "_high"))]
    shown = [{k: r[k] for k in place} | {m: "" if r[m].value is None else f"{r[m].value:.3g}" for m in MEASURES}
             for r in looking.get("scores", [])]  # fmt: skip
    checks = [[*(r[k] for k in place), step, value, r["depends"] or "not known"]
              for r in looking.get("checks", []) for step, value in r["steps"]]  # fmt: skip
    return [
        _table("map-scores", "Maps held against the lesion mask", scores, columns, shown),
        _table("map-randomisation", "Rank correlation with the map of the trained network as layers become random",
               checks, (*place, "layers_made_random", "rank_correlation", "depends_on_what_was_learnt")),
    ]  # fmt: skip


def _searched(searched: dict[str, Any]) -> list[Table]:
    chosen = [(s["run"], s["split"], f["repeat"], f["fold"], "; ".join(f"{k} {v}" for k, v in f["values"].items()),
               f["score"], f["worst"]) for s in searched.get("searches", []) for f in s["folds"]]  # fmt: skip
    flatter = [(r["run"], r["split"], r["target"], "yes" if r["searched"] else "no", r["validation"], r["test"],
                *_ends(r["estimate"])) for r in searched.get("optimism", [])]  # fmt: skip
    return [
        _table("search", "What the search chose in each fold", chosen,
               ("run", "split", "repeat", "fold", "chosen", "validation_score", "worst_trial")),
        _table("optimism", "AUROC on validation patients less that on test patients", flatter,
               ("run", "split", "target", "searched", "validation", "test", "optimism", "low", "high")),
    ]  # fmt: skip


def _plan(plan: dict[str, Any]) -> list[Table]:
    return [_table("plan", "Chosen from the cohort, as the study leaves it open", plan["choices"],
                   ("key", "value", "why"))]  # fmt: skip
