"""Preprocessing: one file per step, each a plain function (Volume, *, options) -> Volume.

A step sees one volume of one exam and nothing else, so it cannot leak between patients.
"""

from __future__ import annotations

from collections.abc import Callable

from scan2gene.core.volume import Volume
from scan2gene.preprocess.crop_or_pad import crop_or_pad
from scan2gene.preprocess.crop_to_mask import crop_to_mask
from scan2gene.preprocess.equalise import equalise
from scan2gene.preprocess.first_channel import first_channel
from scan2gene.preprocess.min_max_uint8 import min_max_uint8
from scan2gene.preprocess.remove_background import remove_background
from scan2gene.preprocess.reorient import reorient
from scan2gene.preprocess.resample import resample, resize
from scan2gene.preprocess.zscore import zscore

STEPS: dict[str, Callable[..., Volume]] = {
    "first_channel": first_channel,
    "min_max_uint8": min_max_uint8,
    "reorient": reorient,
    "resample": resample,
    "resize": resize,
    "equalise": equalise,
    "remove_background": remove_background,
    "crop_or_pad": crop_or_pad,
    "crop_to_mask": crop_to_mask,
    "zscore": zscore,
}

# Steps that move voxels; masks take part in these and in no other.
GEOMETRIC = frozenset({"reorient", "resample", "resize", "crop_or_pad", "crop_to_mask"})
