"""Who is in the study, who was left out and why, and what their scans are like."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.cohorts.split import class_table, one_class_parts
from scan2gene.core.tables import EXTERNAL, PARTS
from scan2gene.core.text import count_range
from scan2gene.imaging.index import copied_series
from scan2gene.privacy.redaction import MAKERS, grouped, shared_words, without_names
from scan2gene.report import figures, flow
from scan2gene.report.inputs import Inputs, split_text
from scan2gene.tasks.outputs import question

CLASSES = (("positive", 1.0), ("negative", 0.0), ("unknown", None))
MAX_REASONS = 12
MAX_VALUES = 10
MAX_DISTINCT = 8  # more distinct numbers than this are shown in bins


def cohort(inputs: Inputs) -> dict[str, Any]:
    """Flow diagram, classes by part and by site, exclusions."""
    classes = class_table(inputs.split, inputs.labels, inputs.questions)
    lacking = one_class_parts(classes)
    steps = [step | {"left_out": _shortened(grouped(step["left_out"].items(), inputs.hide))} for step in inputs.flow]
    parts = [
        _class_by_part(inputs, classes, split.name) | {"lacking": lacking.get(split.name, "")}
        for split in inputs.study.splits
    ]
    analysed = flow.analysed(inputs)
    boxes = flow.boxes(inputs, parts, analysed)
    return {
        "flow": figures.flow_diagram(steps, "Flow of series, exams and patients into study, parts and analysis", boxes),
        "steps": steps,
        "boxes": boxes,
        "analysed": analysed,
        "parts": parts,
        "copies": copied_series(inputs.series),
        "sites": _class_by_site(inputs),
        "exclusions": _exclusions(inputs),
        "n_patients": inputs.cohort["patient_id"].nunique(),
        "n_exams": len(inputs.cohort),
    }


def _shortened(reasons: list[tuple[str, int]], limit: int = MAX_REASONS) -> list[tuple[str, int]]:
    if len(reasons) <= limit:
        return reasons
    rest = reasons[limit - 1 :]
    return [*reasons[: limit - 1], (f"{len(rest)} other reasons", sum(n for _, n in rest))]


def _is_class(values: pd.Series, value: float | None) -> pd.Series:
    return values.isna() if value is None else values == value


def _class_by_part(inputs: Inputs, table: pd.DataFrame, split: str) -> dict[str, Any]:
    """Patients and volumes per target, class and part, with totals; a range where the folds differ."""
    rows, totals = [], {}
    mine = table[table["split"] == split]
    parts = (*PARTS, *([EXTERNAL] if EXTERNAL in mine and (mine[EXTERNAL].astype(int) > 0).any() else []))
    volumes = _volumes(inputs, split, parts)
    columns = [*parts, "all"]
    for target, classes in _classes(inputs).items():
        of_class = {name: mine[(mine["target"] == t) & (mine["class"] == c)] for name, (t, c) in classes.items()}
        unit = mine.loc[mine["target"] == classes["unknown"][0], "unit"].iloc[0]
        shown = target + {"side": " (sides)", "patient": ""}[unit]
        held = {name: volumes[question][c] if unit == "patient" else None for name, (question, c) in classes.items()}
        for name, folds in of_class.items():
            row = _part_row(shown, name, folds[columns], held[name])  # a volume shows both sides
            if any(c != "0" for c in row["cells"]) or name != "unknown":
                rows.append(row)
        known = [name for name in classes if name != "unknown"]
        together = pd.concat([of_class[name] for name in known]).groupby(["repeat", "fold"])[columns].sum()
        every = [own for name in known if (own := held[name]) is not None]
        words = "both classes" if len(known) == 2 else "all classes"
        totals[shown] = _part_row(shown, words, together, sum(every[1:], every[0]) if every else None)
    return {"split": split, "what": split_text(inputs.study, split), "folds": len(inputs.folds(split)), "rows": rows,
            "totals": totals, "parts": parts}  # fmt: skip


def _classes(inputs: Inputs) -> dict[str, dict[str, tuple[str, str]]]:
    """Target -> class -> where `class_table` counts it: (target with two classes, its class)."""
    found = {}
    for name, target in inputs.study.targets.items():
        questions = {label: (question(name, label), "positive") for label in target.classes}
        own = questions or {word: (name, word) for word in ("positive", "negative")}
        found[name] = own | {"unknown": (next(iter(own.values()))[0], "unknown")}
    return found


def _part_row(target: str, name: str, counts: pd.DataFrame, volumes: pd.DataFrame | None) -> dict[str, Any]:
    *cells, every = (count_range(counts[c]) for c in counts)
    *held, in_all = ["" for _ in counts] if volumes is None else [count_range(volumes[c]) for c in counts]
    return {"target": target, "class": name, "cells": cells, "all": every, "volumes": held, "all_volumes": in_all}


def _volumes(inputs: Inputs, split: str, parts: Sequence[str]) -> dict[str, dict[str, pd.DataFrame]]:
    """Target -> class -> volumes that networks see, a row per fold, a column per part and for all of them."""
    roles = [f"role:{role}" for role in inputs.seen_roles()]
    held = inputs.cohort[["patient_id"]].assign(n=inputs.cohort[roles].notna().sum(axis=1))
    number = held.groupby("patient_id")["n"].sum()
    wide = inputs.wide_labels()
    folds = [members for _, members in inputs.split[inputs.split["split"] == split].groupby(["repeat", "fold"])]
    found: dict[str, dict[str, pd.DataFrame]] = {}
    for target in wide.columns:
        found[target] = {}
        for name, value in CLASSES:
            hit = number[_is_class(wide[target], value).reindex(number.index, fill_value=value is None)]
            rows = [
                {p: int(hit.reindex(members.loc[members["part"] == p, "patient_id"].unique()).sum()) for p in parts}
                | {"all": int(hit.reindex(members["patient_id"].unique()).sum())}
                for members in folds
            ]
            found[target][name] = pd.DataFrame(rows, columns=[*parts, "all"])
    return found


def _class_by_site(inputs: Inputs) -> dict[str, Any] | None:
    """Patients per site and class; None when the study knows no sites."""
    site = inputs.cohort.drop_duplicates("patient_id").set_index("patient_id")["site"]
    if site.isna().all():
        return None
    wide = inputs.wide_labels()
    site = site.reindex(wide.index).fillna("not given")
    rows, warnings = [], []
    for name, members in wide.groupby(site):
        counts = [[int(_is_class(members[t], v).sum()) for _, v in CLASSES] for t in wide.columns]
        rows.append({"site": name, "n": len(members), "counts": counts})
        for target, (positive, negative, _) in zip(wide.columns, counts, strict=True):
            if (positive == 0) != (negative == 0) and wide[target].nunique() == 2:
                only = "negative" if positive == 0 else "positive"
                warnings.append(f"{name} has only {only} patients for {target}")
    return {"rows": rows, "targets": list(wide.columns), "warnings": warnings if len(rows) > 1 else []}


def _exclusions(inputs: Inputs) -> list[dict[str, Any]]:
    """Stage, reason, count, in the order in which the stages first appear."""
    rows = []
    for stage, part in inputs.exclusions.groupby("stage", sort=False):
        counts = part["reason"].fillna("no reason given").value_counts()
        reasons = _shortened(grouped(counts.items(), inputs.hide), 30)
        rows.append({"stage": stage, "reasons": reasons, "n": len(part)})
    return rows


def scans(inputs: Inputs) -> dict[str, Any]:
    """What the images that networks see are like: one list of values per non-empty column."""
    roles, series = inputs.seen_roles(), inputs.used_series()
    columns: list[tuple[str, Callable[[pd.DataFrame], pd.Series]]] = [
        ("In-plane spacing (mm)", _in_plane),
        ("Slice spacing (mm)", lambda s: _binned(s["spacing_k_mm"])),
        ("Slice thickness in the header (mm)", lambda s: _binned(s["SliceThickness"])),
        ("Plane", lambda s: s["plane"]),
        ("Orientation of the voxel axes", lambda s: s["orientation"]),
        ("Manufacturer", lambda s: _makers(s, inputs)),
        ("Field strength (T)", lambda s: _binned(s["MagneticFieldStrength"])),
        ("Study description", lambda s: _free_text(s, inputs)),
    ]
    wide = inputs.wide_labels()
    lists = [_values(name, read(series), series, wide) for name, read in columns if len(series)]
    targets = list(wide.columns) if len(wide.columns) <= 2 else []  # more columns than fit beside the bars
    there = set(series["variable"])  # a recipe names more sequences and planes than a cohort has
    played = [role for role in roles if f"role:{role}" in there] or roles
    return {"lists": [found for found in lists if found], "roles": played, "n": len(series), "targets": targets}


def _values(name: str, values: pd.Series, series: pd.DataFrame, wide: pd.DataFrame) -> dict[str, Any] | None:
    if values.isna().all():
        return None
    values = values.fillna("not given")
    counts = values.value_counts(sort=False)
    order = sorted(counts.index, key=lambda v: (v == "not given", *_rank(v, counts[v])))
    if len(order) > MAX_VALUES:
        rare = set(sorted(order, key=lambda v: -counts[v])[MAX_VALUES - 1 :])
        values = values.mask(values.isin(rare), f"{len(rare)} other values")
        counts = values.value_counts(sort=False)
        order = [v for v in order if v not in rare] + [f"{len(rare)} other values"]
    rows = []
    for value in order:
        labels = wide.loc[series.loc[values == value, "patient_id"].unique()]
        shares = [(int((labels[t] == 1).sum()), int(labels[t].notna().sum())) for t in wide.columns]
        rows.append(
            {"value": value, "n": int(counts[value]), "share": counts[value] / counts.max(), "positive": shares}
        )
    return {"name": name, "rows": rows}


def _rank(value: str, count: int) -> tuple[float, float, str]:
    """Numbers by size, words by how often they occur."""
    head = value.split("–")[0].split(" × ")[0]
    try:
        return (0, float(head), value)
    except ValueError:
        return (1, -count, value)


def _in_plane(series: pd.DataFrame) -> pd.Series:
    i, j = (pd.to_numeric(series[f"spacing_{axis}_mm"], errors="coerce") for axis in "ij")
    if (i - j).abs().max() < 0.005:
        return _binned(i)
    return pd.Series(
        [f"{a:.2f} × {b:.2f}" if a == a and b == b else None for a, b in zip(i, j, strict=True)], series.index
    )


def _binned(column: pd.Series) -> pd.Series:
    """Numbers as text: themselves while they are few, else in bins of equal width."""
    numbers = pd.to_numeric(column, errors="coerce").round(2)
    if numbers.nunique() <= MAX_DISTINCT:
        return numbers.map(lambda v: f"{v:g}", na_action="ignore").astype(object)
    edges = np.histogram_bin_edges(numbers.dropna(), bins=MAX_DISTINCT)
    where = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, MAX_DISTINCT - 1)
    text = [f"{edges[b]:.2f}–{edges[b + 1]:.2f}" for b in where]
    return pd.Series(text, column.index, dtype=object).where(numbers.notna())


def _free_text(series: pd.DataFrame, inputs: Inputs) -> pd.Series:
    """Study descriptions; what one patient alone has is shown where no word of it can be a name."""
    text = series["StudyDescription"].map(inputs.hide, na_action="ignore")
    return without_names(text, series["patient_id"], "of one patient only", shared_words(text, series["patient_id"]))


def _makers(series: pd.DataFrame, inputs: Inputs) -> pd.Series:
    """Manufacturers: free text as any other, and makers' names are no persons'."""
    text = series["Manufacturer"].map(inputs.hide, na_action="ignore")
    shared = MAKERS | shared_words(text, series["patient_id"])
    return without_names(text, series["patient_id"], "of one patient only", shared)
