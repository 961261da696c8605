"""Embedding maps on the page: one figure per colouring, one shown at a time without any script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from scan2gene.report.inputs import Inputs
from scan2gene.report.panels import decided
from scan2gene.report.svg import GREY, escaped, svg, text
from scan2gene.tasks.outputs import question

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe & Ito
OTHERS, UNKNOWN, RARE = "others", "not known", "a rare one"
FEW = 3  # patients below whom a scanner is not named
POINTS = 1500  # of one map; more would only cover each other
PAGE_BYTES = 1_200_000
_SIDE, _RADIUS = 340.0, 3.6


def embedding_maps(inputs: Inputs) -> list[dict[str, Any]]:
    """One entry per map: run, split, method, and a figure for each way to colour it."""
    if not inputs.files.embedding_map.exists():
        return []
    table = inputs.files.embedding_map.read()
    table[["x", "y"]] = table[["x", "y"]].astype(float)
    made, room = [], PAGE_BYTES
    for (run, split), rows in table.groupby(["run_id", "split"], sort=False):
        shown = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, min(POINTS, len(rows))).astype(int))]
        method = rows["method"].iloc[0]
        drawn = {name: _figure(shown, groups, f"{method} of the embeddings of {run}, split {split}, by {name}")
                 for name, groups in _colourings(inputs, shown).items()}  # fmt: skip
        room -= sum(map(len, drawn.values()))
        made.append({"run": run, "split": split, "method": method, "n": len(rows), "figures": drawn,
                     "shown": room >= 0})  # fmt: skip
    return made


def neighbours(inputs: Inputs) -> list[dict[str, Any]]:
    """Rows of embedding_agreement.csv: how often neighbours are alike, and how often by chance."""
    if not inputs.files.embedding_agreement.exists():
        return []
    table = inputs.files.embedding_agreement.read()
    table[["agreement", "by_chance"]] = table[["agreement", "by_chance"]].astype(float)
    return table[["run_id", "split", "what", "n", "agreement", "by_chance"]].to_dict("records")


def _colourings(inputs: Inputs, rows: pd.DataFrame) -> dict[str, Sequence[str]]:
    """What each point is, by the name of the colouring; those that are the same for all are left out."""
    labels = inputs.wide_labels()
    words = {1.0: "positive", 0.0: "negative"}
    found: dict[str, Sequence[str]] = {}
    for target, settings in inputs.study.targets.items():
        told = labels[target].map(words) if target in labels else pd.Series(None, labels.index, dtype=object)
        for label in settings.classes:
            told[labels[question(target, label)] == 1] = label
        found[f"label {target}"] = told.reindex(rows["patient_id"]).fillna(UNKNOWN).tolist()
    for column in ("site", "scanner"):
        found[column] = [inputs.hide(v) if isinstance(v, str) and v else UNKNOWN for v in rows[column]]
    alone = rows.groupby("scanner")["patient_id"].transform("nunique") < FEW  # a rare machine would lead to its patient
    found["scanner"] = [RARE if few and w != UNKNOWN else w for w, few in zip(found["scanner"], alone, strict=True)]
    outcome = _outcomes(inputs, rows)
    found |= {f"error {t}": words for t, words in outcome.items()}
    return {name: words for name, words in found.items() if len(set(words)) > 1}


def _outcomes(inputs: Inputs, rows: pd.DataFrame) -> dict[str, list[str]]:
    """Right or wrong decisions on the map's test patients, by target."""
    table = decided(inputs)
    of_run = table[(table["run_id"] == rows["run_id"].iloc[0]) & (table["split"] == rows["split"].iloc[0])]
    found = {}
    for target, part in of_run.groupby("target", sort=False):
        right = (part["decision"] == part["y_true"]).groupby(part["patient_id"]).all()
        told = right.map({True: "right", False: "wrong"})
        found[str(target)] = [told.get(p, "not tested") for p in rows["patient_id"]]
    return found


def _figure(rows: pd.DataFrame, groups: Sequence[str], title: str) -> Markup:
    counts = pd.Series(groups).value_counts()
    named = [g for g in counts.index if g not in (UNKNOWN, "not tested")][: len(COLOURS)]
    colour = dict(zip(named, COLOURS, strict=False))
    low, high = rows[["x", "y"]].min(), rows[["x", "y"]].max()
    wide = (high - low).where(high > low, 1.0)
    places = (rows[["x", "y"]] - low) / wide * (_SIDE - 24) + 12
    body = [f'<rect width="{_SIDE:.0f}" height="{_SIDE:.0f}" fill="none" stroke="#d9dde3"/>']
    for (x, y), group, part in zip(places.to_numpy(), groups, rows["part"], strict=True):
        fill = colour.get(group, GREY)
        hollow = part in ("train", "validation")  # shape says what colour need not: the network has seen it
        paint = f'fill="#fff" stroke="{fill}" stroke-width="1.6"' if hollow else f'fill="{fill}"'
        body.append(
            f'<circle cx="{x:.1f}" cy="{_SIDE - y:.1f}" r="{_RADIUS}" {paint}>'
            f"<title>{escaped(f'{group}, {part}')}</title></circle>"
        )
    left = len(set(groups) - set(named) - {UNKNOWN, "not tested"})
    keys = [(g, colour[g], int(counts[g])) for g in named]
    keys += [(g, GREY, int(counts[g])) for g in (UNKNOWN, "not tested") if g in counts]
    if left:
        keys.append((f"{left} {OTHERS}", GREY, int(sum(counts[g] for g in set(groups) - {k for k, *_ in keys}))))
    for n, (name, fill, count) in enumerate(keys):
        y = 16.0 + 20 * n
        body.append(f'<circle cx="{_SIDE + 18:.0f}" cy="{y - 4:.0f}" r="5" fill="{fill}"/>')
        body.append(text(_SIDE + 30, y, f"{name} ({count})"[:40], size=12))
    told = ", ".join(f"{name} {count}" for name, _, count in keys)
    return svg(_SIDE + 260, max(_SIDE, 24.0 + 20 * len(keys)), title, told, body)
