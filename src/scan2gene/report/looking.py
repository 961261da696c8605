"""Where the networks look: pictures of the surest exams, and what the maps are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from scan2gene.imaging.nifti import read_nifti
from scan2gene.imaging.picture import COLOURS, data_uri, map_strip
from scan2gene.report.inputs import Inputs, estimate_of
from scan2gene.tasks.run_config import resolved

MAP_BYTES = 1_800_000  # of all strips; base64 adds a third, and the page stays below 15 MB
SIZES = ((24, 150), (48, 110), (math.inf, 80))  # up to so many strips, so many pixels a slice
KINDS = {"TP": "True positive", "FP": "False positive", "TN": "True negative", "FN": "False negative"}
EMPTY = "the map is empty"  # how the reason of such a map begins
BY_THRESHOLD = "the probability lies on the other side of 0.5"  # in the reason, where the class is due to that
METHODS = {
    "grad_cam": "Grad-CAM",
    "grad_cam_pp": "Grad-CAM++",
    "hires_cam": "HiResCAM",
    "smooth_grad": "SmoothGrad",
    "integrated_gradients": "Integrated gradients",
    "gradient_shap": "SHAP (expected gradients)",
    "occlusion": "Occlusion",
}
MEASURES = ("energy", "lesion_fraction", "energy_ratio", "energy_ratio_random", "pointing")
SURVIVES = 0.5  # mean rank correlation with all layers random above which a map hardly depends on what was learnt


def looking(inputs: Inputs) -> dict[str, Any]:
    """Pictures, scores and the randomisation check; or the reason why there are none."""
    files = inputs.files.maps()
    if not inputs.study.explain.exams:
        return {"reason": "Maps were switched off in the study file (explain.exams: 0)."}
    if not inputs.stores or not files.maps.exists():
        return {"reason": "No maps were made: no network took part, or no labelled test exam was predicted."}
    maps = files.maps.read()
    maps["order"] = maps["prob"].where(maps["class"] == "negative", -maps["prob"])
    scores = files.scores.read()
    shown = inputs.study.explain.methods[0].name
    groups, left_out = _groups(inputs, maps[(maps["picked"] == "True") & (maps["method"] == shown)])
    return {
        "reason": "",
        "method": METHODS[shown],
        "groups": groups,
        "left_out": left_out,
        "legend": _legend(),
        "scores": _scores(scores),
        "checks": _checks(scores),
        "empty": _empty(maps),
        "has_mask": bool(maps["mask"].notna().any()),
        "of_slices": _of_slices(inputs, list(dict.fromkeys(maps["run_id"]))),
        "tested_by": "each by a network that knows other slices of that patient"
        if {s.name for s in inputs.study.splits if s.unit == "slice"} & set(maps["split"])
        else "each by the network that never saw that patient",
    }


def _empty(maps: pd.DataFrame) -> list[dict[str, Any]]:
    """Methods with empty maps: how many of how many, and of how many the threshold alone chose the class."""
    reason = maps["reason"].fillna("")
    empty = reason.str.startswith(EMPTY)
    table = maps.assign(empty=empty, against=empty & reason.str.contains(BY_THRESHOLD, regex=False))
    counts = table.groupby("method", sort=False).agg(n=("empty", "size"), empty=("empty", "sum"), a=("against", "sum"))
    return [
        {"method": METHODS[row.Index], "n": int(row.n), "empty": int(row.empty), "against": int(row.a)}
        for row in counts.itertuples()
        if row.empty
    ]


def _of_slices(inputs: Inputs, runs: list[str]) -> str:
    """How the maps of slices become one of an exam; empty where all networks see volumes."""
    configs = [config for config in resolved(inputs.study) if config.name in runs]
    ways = [f"{c.name}: {c.data.slices.fusion[0].name.replace('_', ' ')}" for c in configs if c.data.slices]
    if not ways:
        return ""
    return (
        "Networks of slices: the map of each slice is weighed by its share in the answer about the exam "
        f"({'; '.join(ways)}); a slice that was left out has none. Scores are of all slices of an exam together; the "
        "pictures show the series that holds most of the map."
    )


def _groups(inputs: Inputs, picked: pd.DataFrame) -> tuple[list[dict[str, Any]], int]:
    """Strips by run, split and target; the surest of every kind come first when the room is short."""
    keys = ["run_id", "split", "target"]
    table = picked.sort_values("order", kind="stable")
    table["rank"] = table.groupby([*keys, "kind"]).cumcount() + 1
    pixels = next(size for most, size in SIZES if len(table) <= most)
    room, left_out = MAP_BYTES, 0
    drawn: dict[Any, dict[str, Any]] = {}
    for number, row in table.sort_values("rank", kind="stable").iterrows():
        made = _strip(inputs, row.to_dict(), pixels)
        if made is None or len(made.jpeg) > room:
            left_out += 1
            continue
        room -= len(made.jpeg)
        picture = data_uri(made.jpeg, "jpeg")
        exam = {"kind": KINDS[row["kind"]], "rank": row["rank"], "picture": picture, "strip": made}
        drawn[number] = exam | _told(row.to_dict())
    groups = []
    for key in picked[keys].drop_duplicates().itertuples(index=False, name=None):
        rows = table[(table[keys] == list(key)).all(axis=1)]
        exams = [drawn[n] for kind in KINDS for n in rows.index[rows["kind"] == kind] if n in drawn]
        missing = [name.lower() for kind, name in KINDS.items() if kind not in set(rows["kind"])]
        groups.append(dict(zip(("run", "split", "target"), key, strict=True)) | {"exams": exams, "missing": missing})
    return groups, left_out


def _told(row: dict[str, Any]) -> dict[str, Any]:
    reason = row["reason"] if isinstance(row["reason"], str) else ""
    return {
        "prob": row["prob"],
        "threshold": float(row["threshold"]),
        "truth": "positive" if row["y_true"] == 1 else "negative",
        "said": row["class"],
        "side": {"L": "left", "R": "right"}.get(row["side"], ""),
        "role": row["role"],
        "energy": None if pd.isna(row["energy"]) else float(row["energy"]),
        "fraction": None if pd.isna(row["lesion_fraction"]) else float(row["lesion_fraction"]),
        "empty": reason if reason.startswith(EMPTY) else "",
        "has_mask": isinstance(row["mask"], str),
    }


def _strip(inputs: Inputs, row: dict[str, Any], pixels: int) -> Any:
    """The strip of one exam; None where a file is gone."""
    files = [inputs.out / row[c] for c in ("image", "map", "mask") if isinstance(row[c], str)]
    if len(files) < 2 or not all(f.exists() for f in files):
        return None
    lesion = read_nifti(files[2], "label") if len(files) > 2 else None
    return map_strip(read_nifti(files[0]), read_nifti(files[1]), lesion, pixels)


def _scores(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per run, split, target and method that could be held against a lesion mask."""
    rows = []
    table = scores[scores["measure"].isin(MEASURES)]
    for (run, split, target, method), part in table.groupby(["run_id", "split", "target", "method"], sort=False):
        found = {m["measure"]: estimate_of(m) for m in part.to_dict("records")}
        if found["energy"].value is not None:
            n = int(part.loc[part["measure"] == "energy", "n"].iloc[0])
            rows.append({"run": run, "split": split, "target": target, "method": METHODS[method], "n": n, **found})
    return rows


def _checks(scores: pd.DataFrame) -> list[dict[str, Any]]:
    """Rank correlations with the map of the trained network, as its layers become random."""
    rows = []
    table = scores[scores["measure"] == "rank_correlation"]
    for (run, split, target, method), part in table.groupby(["run_id", "split", "target", "method"], sort=False):
        steps = [(m["step"], estimate_of(m).value) for m in part.to_dict("records")]
        last = steps[-1][1]
        rows.append({"run": run, "split": split, "target": target, "method": METHODS[method], "steps": steps,
                     "depends": "" if last is None else "no" if abs(last) > SURVIVES else "yes",
                     "n": int(part["n"].max())})  # fmt: skip
    return rows


def _legend(steps: int = 12) -> Sequence[str]:
    """Colours of the map from 0 to its largest value, as they lie on black."""
    import numpy as np
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    return [to_hex(colormaps[COLOURS](v)) for v in np.linspace(0, 1, steps)]
