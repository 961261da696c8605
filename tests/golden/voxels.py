"""Golden voxels: what each preprocessing step makes of one small volume."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import scan2gene
from scan2gene.core.section import version_of

AFFINE = np.array([[-1.5, 0.1, 0, 80], [0.1, 1.2, 0.3, -90], [0, -0.2, 3.2, 11], [0, 0, 0, 1]])
SHAPE = (17, 16, 9)
STANDARD = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]

# case -> step, options; "mask" and "reference" stand for the volumes below
CASES: dict[str, tuple[str, dict]] = {
    "first_channel": ("first_channel", {}),
    "min_max_uint8": ("min_max_uint8", {}),
    "reorient": ("reorient", {"axes": "SPR"}),
    "reorient-acquisition": ("reorient", {"axes": "acquisition"}),
    "resample": ("resample", {"spacing_mm": (2.0, 1.0, 2.5)}),
    "resample-world": ("resample", {"spacing_mm": (2.0, 1.0, 2.5), "axes": "world"}),
    "resample-acquisition": ("resample", {"spacing_mm": (1.3, 1.3, 2.5), "axes": "acquisition"}),
    "resample-straight": ("resample", {"spacing_mm": (1.5, 1.2, 2.5), "straighten": True}),
    "resize": ("resize", {"shape": (10, 20, 7)}),
    "resize-slices": ("resize", {"shape": (10, 20, None)}),
    "nominal_spacing": ("nominal_spacing", {"extent_mm": 40.0}),
    "register": ("register", {"reference": "moved"}),
    "match_grid": ("match_grid", {"reference": "other"}),
    "skull_strip": ("skull_strip", {"method": "simple", "depth_mm": 2, "volume_ml": (0.1, 3000)}),
    "n4": ("n4", {}),
    "n4-mask": ("n4", {"mask": "mask", "shrink": 2}),
    "denoise": ("denoise", {}),
    "equalise": ("equalise", {}),
    "equalise-body": ("equalise", {"bins": 64, "body": True}),
    "remove_background": ("remove_background", {}),
    "remove_background-crop": (
        "remove_background", {"crop": True, "keep": "large", "threshold": 0.5, "min_voxels": 20}
    ),
    "remove_background-otsu": ("remove_background", {"threshold": "otsu"}),
    "apply_mask": ("apply_mask", {"mask": "mask"}),
    "apply_mask-zero": ("apply_mask", {"mask": "mask", "outside": "zero"}),
    "body_crop": ("body_crop", {}),
    "body_crop-margin": ("body_crop", {"margin_voxels": 1, "reference": "other"}),
    "crop_or_pad": ("crop_or_pad", {"shape": (10, 20, 7)}),
    "crop_to_mask": ("crop_to_mask", {"mask": "mask"}),
    "crop_to_mask-shape": ("crop_to_mask", {"mask": "mask", "shape": (12, 10, 11)}),
    "clip_percentile": ("clip_percentile", {}),
    "clip_percentile-mask": ("clip_percentile", {"low": 5, "high": 90, "mask": "mask"}),
    "zscore": ("zscore", {}),
    "zscore-nonzero": ("zscore", {"nonzero": True}),
    "zscore-mask": ("zscore", {"mask": "mask"}),
    "normalise_percentile": ("normalise_percentile", {}),
    "nyul": ("nyul", {"standard": STANDARD}),
    "nyul-mask": ("nyul", {"standard": STANDARD, "mask": "mask"}),
    "edge_slices": ("edge_slices", {}),
    "edge_slices-middle": ("edge_slices", {"rule": "middle"}),
    "zscore_slices": ("zscore_slices", {}),
}  # fmt: skip
LABELS = ("reorient", "resample", "resample-world", "resize", "nominal_spacing", "match_grid", "crop_or_pad",
          "crop_to_mask-shape")  # fmt: skip


def _ball(affine: np.ndarray, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A bright textured ball in the same place of the patient, in air that is not quite black."""
    place = np.einsum("ab,b...->a...", affine, np.stack([*np.indices(shape), np.ones(shape)]))[:3]
    middle = (AFFINE @ [8, 7.5, 4, 1])[:3]
    x, y, z = place - middle[:, None, None, None]
    inside = (x / 8) ** 2 + (y / 6.5) ** 2 + (z / 9) ** 2 < 1
    texture = 600 + 90 * np.sin(0.9 * x) * np.cos(0.7 * y) + 60 * np.sin(0.5 * z + 0.3 * x) + 4 * x
    air = np.random.default_rng(0).random(shape)
    return np.where(inside, texture + 30 * air, 20 * air).astype(np.float32)


def write_voxels(folder: Path) -> Path:
    """Write steps.csv: VERSION of the step, shape, affine, mean, standard deviation and a dozen voxels of every case.

    Returns:
        The folder.
    """
    other = np.array([[1.3, 0.3, -0.4, 0], [-0.4, 1.1, 0.5, 0], [0.2, -0.2, 2.7, 0], [0, 0, 0, 1.0]])
    other[:3, 3] = (AFFINE @ [8, 7.5, 4, 1])[:3] - other[:3, :3] @ [10, 11, 6]
    moved = AFFINE.copy()
    moved[:3, 3] += [1.5, -1.0, 0.8]
    volume = scan2gene.Volume(_ball(AFFINE), AFFINE)
    named = {
        "mask": scan2gene.Volume((_ball(AFFINE) > 560).astype(np.uint8) * 2, AFFINE, "label"),
        "other": scan2gene.Volume(_ball(other, (21, 23, 13)), other),
        "moved": scan2gene.Volume(_ball(AFFINE), moved),
    }
    others = {
        "first_channel": volume.with_array(np.stack([volume.array, 2 * volume.array], axis=-1)),
        "edge_slices-middle": volume.with_array((volume.array / 4).astype(np.uint8)),  # its rule counts equal voxels
    }
    cases = [(name, step, options, others.get(name, volume)) for name, (step, options) in CASES.items()]
    cases += [(f"{name}-label", *CASES[name], named["mask"]) for name in LABELS]
    rows = []
    for name, step, options, given in cases:
        options = {k: named.get(v, v) if isinstance(v, str) else v for k, v in options.items()}
        function = scan2gene.preprocess.STEPS[step]
        rows.append({"case": name, "version": version_of(function)} | _measured(function(given, **options)))
    folder.mkdir(parents=True)
    pd.DataFrame(rows).to_csv(folder / "steps.csv", index=False)
    return folder


def _measured(volume: scan2gene.Volume) -> dict[str, object]:
    array = np.asarray(volume.array, float)
    places = np.random.default_rng(0).uniform(0.2, 0.8, (12, 3)) * array.shape  # most of them within the ball
    row: dict[str, object] = {"shape": "x".join(map(str, array.shape)), "dtype": str(volume.array.dtype)}
    row |= {f"a{n}": v for n, v in enumerate(volume.affine[:3].ravel())} | {"mean": array.mean(), "sd": array.std()}
    return row | {f"v{n}": array[tuple(place.astype(int))] for n, place in enumerate(places)}
