"""Pictures of which slices `edge_slices` kept: every slice of a few series, the others dimmed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.files import atomic_path
from scan2gene.core.section import Plugin
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.preprocess.edge_slices import kept_slices
from scan2gene.preprocess.recipe import apply_recipe
from scan2gene.preprocess.resample import slice_axis

EXAMS = 3  # shown of each role
SIDE = 72  # pixels of a slice
ACROSS = 12  # slices in a row
SHOWN = 48  # of one series, evenly chosen where it has more
_COUNTS_CHANGE = {"resample", "match_grid", "body_crop", "crop_or_pad", "crop_to_mask"}
_FRAME = (70, 170, 90)


def write_kept(
    store: Path, cohort: pd.DataFrame, paths: Mapping[str, str], roles: Sequence[str], recipe: Sequence[Plugin]
) -> list[Path]:
    """One PNG per role in `store/preview/`: slices of its first `EXAMS` exams, the kept ones framed.

    Pictures carry no patient id. A series that cannot be done is passed over; the manifest says why.

    Args:
        store: The store of the recipe.
        cohort: cohort.csv's rows.
        paths: series_id -> path.
        roles: Of kind intensity.
        recipe: Steps in order; without `edge_slices` nothing is drawn.
    """
    at = next((n for n, step in enumerate(recipe) if step.name == "edge_slices"), None)
    if at is None:
        return []
    written = []
    for role in roles:
        blocks: list[np.ndarray] = []
        for exam in cohort.to_dict("records"):
            if len(blocks) == EXAMS or not isinstance(exam[f"role:{role}"], str):
                continue
            try:
                volume = _before_edges(exam, role, paths, recipe[:at])
                blocks.append(montage(volume, kept_slices(volume, **recipe[at].options)))
            except Scan2GeneError:
                continue
        if blocks:
            written.append(store / "preview" / f"kept-{role}.png")
            _save(written[-1], blocks)
    return written


def kept_numbers(
    exam: Mapping[str, object], role: str, paths: Mapping[str, str], recipe: Sequence[Plugin]
) -> np.ndarray | None:
    """Which slices `edge_slices` kept of a series, where they may not adjoin, found from the scan once more.

    Args:
        exam: A row of cohort.csv.
        role: Of kind intensity.
        paths: series_id -> path.
        recipe: Steps in order.

    Returns:
        Ascending numbers of slices; None where kept slices adjoin, so that the stored affine tells all.

    Raises:
        Scan2GeneError, OSError: The scan cannot be read any more.
    """
    at = next((n for n, step in enumerate(recipe) if step.name == "edge_slices"), None)
    if at is None or recipe[at].options.get("rule", "foreground") != "middle":
        return None
    return kept_slices(_before_edges(exam, role, paths, recipe[:at]), **recipe[at].options)


def _before_edges(exam: Mapping[str, object], role: str, paths: Mapping[str, str], steps: Sequence[Plugin]) -> Volume:
    """The series as the steps before `edge_slices` leave it."""
    return apply_recipe({r: read_volume(paths[str(exam[f"role:{r}"])]) for r in _needed(exam, role, steps)}, steps)[
        role
    ]


def kept_counts(
    manifest: pd.DataFrame, cohort: pd.DataFrame, series: pd.DataFrame, roles: Sequence[str], recipe: Sequence[Plugin]
) -> pd.DataFrame:
    """How many slices `edge_slices` kept of each series.

    Args:
        manifest: Of the recipe's store.
        cohort: cohort.csv's rows.
        series: series.csv, whose shape and spacing tell how many there were.
        roles: Of kind intensity.
        recipe: Steps in order.

    Returns:
        patient_id, exam_id, role, slices, kept; empty where no step drops slices, other steps
        change their number, or k is not made the slice axis by `reorient`.
    """
    names = {step.name for step in recipe}
    turned = any(s.name == "reorient" and s.options.get("axes") == "acquisition" for s in recipe)
    fixed = any(s.name == "resize" and s.options["shape"][2] is not None for s in recipe)
    columns = ["patient_id", "exam_id", "role", "slices", "kept"]
    rows = []
    if "edge_slices" in names and turned and not fixed and not _COUNTS_CHANGE & names:
        known = series.set_index("series_id")
        ids = cohort.set_index("exam_id")
        ready = manifest[(manifest["status"] == "ok") & manifest["role"].isin(roles)]
        for row in ready.to_dict("records"):
            source = known.loc[ids.at[row["exam_id"], f"role:{row['role']}"]]
            spacing = [float(source[f"spacing_{axis}_mm"]) for axis in "ijk"]
            axis = slice_axis(Volume(np.zeros((1, 1, 1), np.uint8), np.diag([*spacing, 1.0])))
            count, kept = int(source["shape"].split("x")[axis]), int(row["shape"].split("x")[2])
            rows.append([*(row[c] for c in columns[:3]), count, kept])
    return pd.DataFrame(rows, columns=columns)


def _needed(exam: Mapping[str, object], role: str, steps: Sequence[Plugin]) -> list[str]:
    """The role, and those that the steps before name."""
    named = {v for s in steps for o, v in s.options.items() if o in ("mask", "reference") and isinstance(v, str)}
    return [role, *sorted(r for r in named - {role} if isinstance(exam.get(f"role:{r}"), str))]


def montage(volume: Volume, kept: np.ndarray) -> np.ndarray:
    """Slices (along k) in rows, (height, width, 3) uint8; those that are not kept are dimmed.

    Args:
        volume: Array (I, J, K).
        kept: Numbers of the kept slices.
    """
    from PIL import Image

    shown = np.unique(np.linspace(0, volume.shape[2] - 1, min(SHOWN, volume.shape[2])).round().astype(int))
    low, high = np.percentile(volume.array, [1, 99.5])
    rows = -(-len(shown) // ACROSS)
    page = np.full((rows * SIDE, ACROSS * SIDE, 3), 255, np.uint8)
    for place, k in enumerate(shown):
        grey = np.clip((volume.array[:, :, k].T.astype(float) - low) / max(high - low, 1e-6), 0, 1)
        inside = k in kept
        small = Image.fromarray((grey * (255 if inside else 90)).astype(np.uint8)).resize((SIDE - 4, SIDE - 4))
        top, left = place // ACROSS * SIDE, place % ACROSS * SIDE
        page[top + 1 : top + SIDE - 1, left + 1 : left + SIDE - 1] = _FRAME if inside else (255, 255, 255)
        page[top + 2 : top + SIDE - 2, left + 2 : left + SIDE - 2] = np.asarray(small)[:, :, None]
    return page


def _save(path: Path, blocks: list[np.ndarray]) -> None:
    from PIL import Image

    apart = [np.pad(b, ((0, 8), (0, 0), (0, 0)), constant_values=255) for b in blocks]
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary:
        Image.fromarray(np.concatenate(apart)).save(temporary, format="PNG", optimize=True)
