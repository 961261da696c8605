"""The index of every folder of real data, beside counts made by hand; part of `make results`."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd

import scan2gene

BY_HAND = Path(__file__).parent / "index_by_hand.csv"


def page(data: Path) -> str:
    """The page docs/results/index.md."""
    hand = pd.read_csv(BY_HAND).set_index("folder")
    lines = [
        "# The index of all real data",
        "",
        "Written by `make results` (`studies/index_all.py`). 'By hand' are the rows that a person expects after",
        "reading the folder and its SOURCE.md (`studies/index_by_hand.csv`); `tests/unit/imaging/test_real_index.py`",
        "compares the two in every test run. Folders that nobody counted are left out here.",
        "",
        "| folder | files of rows | ok | by hand | rejected | by hand | seconds | counted how |",
        "|---|---|---|---|---|---|---|---|",
    ]
    tables = []
    for folder in sorted(p for p in data.iterdir() if p.is_dir()):
        started = time.perf_counter()
        table = scan2gene.index(folder).assign(folder=folder.name)
        seconds = time.perf_counter() - started
        if folder.name not in hand.index:  # new data that nobody counted yet
            continue
        tables.append(table)
        ok, rejected = (table["status"] == "ok").sum(), (table["status"] != "ok").sum()
        expected = hand.loc[folder.name]
        lines.append(
            f"| {folder.name} | {table['n_files'].sum()} | {ok} | {expected['ok']} | {rejected} "
            f"| {expected['rejected']} | {seconds:.2f} | {expected['how']} |"
        )
    rows = pd.concat(tables)
    lines += ["", "## Every reject and its reason", "", "| series | reason |", "|---|---|"]
    for row in rows[rows["status"] != "ok"].itertuples():
        place, _, uid = row.path[len(str(data)) + 1 :].partition("#")
        lines.append(f"| {place}{f' ...{uid[-12:]}' if uid else ''} | {row.reason} |")
    good = rows[rows["status"] == "ok"]
    lines += ["", "## What the volumes are", ""]
    for column in ("format", "plane", "orientation", "sequence", "Manufacturer", "MagneticFieldStrength"):
        counts = good.loc[good[column] != "", column].value_counts()
        lines.append(f"- {column}: " + ", ".join(f"{value} {n}" for value, n in counts.items()))
    return "\n".join(lines) + "\n"
