"""Preprocessing: one file per step, each a plain function (Volume, *, options) -> Volume.

A step sees one exam and nothing else, so it cannot leak between patients. The VERSION of its file is
part of a store's name (see `version_of`).
"""

from __future__ import annotations

from collections.abc import Callable

from scan2gene.core.volume import Volume
from scan2gene.preprocess.apply_mask import apply_mask
from scan2gene.preprocess.body_crop import body_crop
from scan2gene.preprocess.crop_or_pad import crop_or_pad
from scan2gene.preprocess.crop_to_mask import crop_to_mask
from scan2gene.preprocess.denoise import denoise
from scan2gene.preprocess.edge_slices import edge_slices
from scan2gene.preprocess.equalise import equalise
from scan2gene.preprocess.first_channel import first_channel
from scan2gene.preprocess.match_grid import match_grid
from scan2gene.preprocess.min_max_uint8 import min_max_uint8
from scan2gene.preprocess.n4 import n4
from scan2gene.preprocess.nominal_spacing import nominal_spacing
from scan2gene.preprocess.nyul import nyul
from scan2gene.preprocess.percentiles import clip_percentile, normalise_percentile
from scan2gene.preprocess.register import register
from scan2gene.preprocess.remove_background import remove_background
from scan2gene.preprocess.reorient import reorient
from scan2gene.preprocess.resample import resample, resize
from scan2gene.preprocess.skull_strip import skull_strip
from scan2gene.preprocess.zscore import zscore
from scan2gene.preprocess.zscore_slices import zscore_slices

STEPS: dict[str, Callable[..., Volume]] = {
    "first_channel": first_channel,
    "min_max_uint8": min_max_uint8,
    "reorient": reorient,
    "resample": resample,
    "resize": resize,
    "nominal_spacing": nominal_spacing,
    "register": register,
    "match_grid": match_grid,
    "skull_strip": skull_strip,
    "n4": n4,
    "denoise": denoise,
    "equalise": equalise,
    "remove_background": remove_background,
    "apply_mask": apply_mask,
    "body_crop": body_crop,
    "crop_or_pad": crop_or_pad,
    "crop_to_mask": crop_to_mask,
    "clip_percentile": clip_percentile,
    "zscore": zscore,
    "normalise_percentile": normalise_percentile,
    "nyul": nyul,
    "edge_slices": edge_slices,
    "zscore_slices": zscore_slices,
}

# Steps that move voxels; masks take part in these and in no other. So does any step with `crop: true`.
GEOMETRIC = frozenset(
    {"reorient", "resample", "resize", "nominal_spacing", "match_grid", "body_crop", "crop_or_pad", "crop_to_mask"}
)
