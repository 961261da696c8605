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

EXAMS = 3  # shown of each role
SIDE = 72  # pixels of a slice
ACROSS = 12  # slices in a row
SHOWN = 48  # of one series, evenly chosen where it has more
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
                before = {r: read_volume(paths[exam[f"role:{r}"]]) for r in _needed(exam, role, recipe[:at])}
                volume = apply_recipe(before, recipe[:at])[role]
                blocks.append(montage(volume, kept_slices(volume, **recipe[at].options)))
            except Scan2GeneError:
                continue
        if blocks:
            written.append(store / "preview" / f"kept-{role}.png")
            _save(written[-1], blocks)
    return written


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
