"""Pictures of what preprocessing did: middle slices and histograms, before and after all steps and single ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.files import atomic_path
from scan2gene.core.section import Plugin
from scan2gene.core.study_cohort import Role
from scan2gene.core.text import dimensions
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.nifti import read_nifti
from scan2gene.imaging.picture import draw_slice, montage, write_png
from scan2gene.preprocess.edge_slices import kept_slices
from scan2gene.preprocess.recipe import apply_recipe, roles_of_steps
from scan2gene.preprocess.slice_selection import before_edges

EXAMS = 3
STEP_EXAMS = 2  # of a picture of a single step
STEP = "step-"  # what such a picture is called, before the number and name of the step
KEPT = "kept-"  # what a picture of kept slices is called, before the role
# Steps whose effect a reader must see: they change what is bright, or take voxels away.
PICTURED = ("equalise", "remove_background", "apply_mask", "nyul")


def write_previews(
    store: Path, manifest: pd.DataFrame, cohort: pd.DataFrame, paths: Mapping[str, str], roles: Sequence[str]
) -> list[Path]:
    """One PNG per exam for the first `EXAMS` prepared exams, in `store/preview/`.

    Pictures carry no patient id: they may end up in a report that is passed on.
    """
    ready = manifest[manifest["status"] == "ok"].set_index(["exam_id", "role"])["file"]
    written: list[Path] = []
    for exam in cohort.to_dict("records"):
        shown = [r for r in roles if (exam["exam_id"], r) in ready.index]
        if not shown or len(written) == EXAMS:
            continue
        try:
            pairs = [
                (r, read_volume(paths[exam[f"role:{r}"]]), read_nifti(store / ready[(exam["exam_id"], r)]))
                for r in shown
            ]
        except Scan2GeneError:
            continue  # the manifest already says why
        path = store / "preview" / f"{len(written) + 1}.png"
        _draw(path, pairs)
        written.append(path)
    return written


def write_step_pictures(
    store: Path, manifest: pd.DataFrame, cohort: pd.DataFrame, paths: Mapping[str, str], roles: Mapping[str, Role],
    shown: Sequence[str], recipe: Sequence[Plugin],
) -> list[Path]:  # fmt: skip
    """One PNG per step of `PICTURED` in `store/preview/`: slices and histograms of some exams, before and after it.

    Pictures carry no patient id. Steps are repeated on the scan; a store keeps no volume between two steps.

    Args:
        store: The store of the recipe.
        manifest: Its manifest.
        cohort: cohort.csv's rows.
        paths: series_id -> path.
        roles: The study's roles.
        shown: Roles of kind intensity; the first that an exam has is shown.
        recipe: Steps in order.
    """
    numbers = [n for n, step in enumerate(recipe) if step.name in PICTURED]
    if not numbers:
        return []
    ready = set(manifest.loc[manifest["status"] == "ok", ["exam_id", "role"]].itertuples(index=False, name=None))
    pairs: dict[int, list[tuple[str, Volume, Volume]]] = {n: [] for n in numbers}
    for exam in cohort.to_dict("records"):
        role = next((r for r in shown if (exam["exam_id"], r) in ready), None)
        if role is None or len(pairs[numbers[0]]) == STEP_EXAMS:
            continue
        needed = {role, *roles_of_steps(recipe)}
        try:
            sources = {r: str(exam[f"role:{r}"]) for r in needed if isinstance(exam.get(f"role:{r}"), str)}
            states = _states(
                {r: read_volume(paths[s], roles[r].kind, roles[r].threshold) for r, s in sources.items()},
                recipe,
                numbers,
            )
        except (Scan2GeneError, OSError):
            continue
        for n, (before, after) in states.items():
            pairs[n].append((role, before[role], after[role]))
    written = []
    for n in (n for n in numbers if pairs[n]):
        written.append(store / "preview" / f"{STEP}{n + 1}-{recipe[n].name}.png")
        _draw(written[-1], pairs[n])
    return written


def write_kept(
    store: Path, cohort: pd.DataFrame, paths: Mapping[str, str], roles: Sequence[str], recipe: Sequence[Plugin]
) -> list[Path]:
    """One PNG per role in `store/preview/`: slices of its first `EXAMS` exams, those that `edge_slices` kept framed.

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
                volume = before_edges(exam, role, paths, recipe[:at])
                shown = montage(volume, kept_slices(volume, **recipe[at].options))
            except Scan2GeneError:
                continue
            blocks.append(np.pad(shown, ((0, 8), (0, 0), (0, 0)), constant_values=255))
        if blocks:
            written.append(store / "preview" / f"{KEPT}{role}.png")
            write_png(written[-1], np.concatenate(blocks))
    return written


def _states(
    volumes: Mapping[str, Volume], recipe: Sequence[Plugin], numbers: Sequence[int]
) -> dict[int, tuple[dict[str, Volume], dict[str, Volume]]]:
    """Number of a step -> the exam's volumes before and after it."""
    lengths = {length for n in numbers for length in (n, n + 1)}
    after = {length: apply_recipe(volumes, recipe[:length]) for length in lengths}  # a step may look at earlier ones
    return {n: (after[n], after[n + 1]) for n in numbers}


def _draw(path: Path, pairs: list[tuple[str, Volume, Volume]]) -> None:
    from matplotlib.figure import Figure

    rows = len(pairs)
    figure = Figure(figsize=(9.6, 2.5 * rows))
    # margins by hand: a layout engine draws everything once more to find them
    room = {"left": 0.01, "right": 0.99, "bottom": 0.1 / rows, "top": 1 - 0.1 / rows, "wspace": 0.2, "hspace": 0.25}
    axes = figure.subplots(rows, 4, squeeze=False, width_ratios=[1, 1, 0.8, 0.8], gridspec_kw=room)
    for row, (role, before, after) in zip(axes, pairs, strict=True):
        for column, (name, volume) in enumerate((("before", before), ("after", after))):
            draw_slice(row[column], volume, f"{role}, {name}  {dimensions(volume.shape)}")
            draw_histogram(row[2 + column], volume, f"{name}: {volume.array.min():.4g} to {volume.array.max():.4g}")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def draw_histogram(axis, volume: Volume, title: str, before: Volume | None = None) -> None:
    """Voxels by grey value, on a log scale; those `before` a step in grey where the ranges overlap much."""
    low, high = float(volume.array.min()), float(volume.array.max())
    style = {"bins": 64, "log": True, "histtype": "stepfilled"}  # one outline is drawn sooner than 64 bars
    if before is not None and _alike(before, low, high):
        axis.hist(before.array.ravel(), range=(low, high), color="#9aa3ad", **style)
    axis.hist(volume.array.ravel(), range=(low, max(high, low + 1e-6)), color="#4a6fa5", alpha=0.75, **style)
    axis.set_title(title, fontsize=8, y=1)  # matplotlib looks for the place of a title by drawing all ticks first
    axis.minorticks_off()
    axis.tick_params(labelsize=6)


def _alike(volume: Volume, low: float, high: float) -> bool:
    """True where a range is within a factor of two of a volume's, so that one axis shows both."""
    span = float(volume.array.max()) - float(volume.array.min())
    return high > low and 0.5 <= span / (high - low) <= 2
