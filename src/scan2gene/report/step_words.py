"""What each preprocessing step does to a scan, in words for a Methods section, with the options that it ran with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from scan2gene.core.section import Plugin
from scan2gene.core.text import listed
from scan2gene.preprocess import STEPS

Options = dict[str, Any]


def times(values: Sequence[Any]) -> str:
    """Three numbers as "2.5 × 2.5 × 3"; null, the number that there was, as n."""
    return " × ".join("n" if v is None else f"{v:g}" for v in values)


def mask_named(name: str) -> str:
    """A mask by its role, unless that says no more than "mask"."""
    return "the mask" if name == "mask" else f"the mask {name}"


def _reorient(o: Options) -> str:
    if o["axes"] == "acquisition":
        return "reoriented so that the third axis ran along the slices"
    return f"reoriented to {o['axes']}"


def _resample(o: Options) -> str:
    of = {"voxel": "", "world": " along right-left, anterior-posterior and superior-inferior",
          "acquisition": ", the third size along the slices"}  # fmt: skip
    turned = ", turned onto the patient's axes" if o["straighten"] else ""
    return f"resampled to {times(o['spacing_mm'])} mm by cubic B-splines{of.get(o['axes'], '')}{turned}"


def _nominal_spacing(o: Options) -> str:
    return f"given a nominal slice distance, as if the slices spanned {o['extent_mm']:g} mm"


def _resize(o: Options) -> str:
    kept = " (n as before)" if None in o["shape"] else ""
    return f"stretched to {times(o['shape'])} voxels{kept}"


def _skull_strip(o: Options) -> str:
    how = f"by {mask_named(o['mask'])}" if o["mask"] else f"method {o['method']}"
    shared = f", as found in {o['reference']}" if o["reference"] else ""
    return f"stripped of everything but the brain ({how}{shared})"


def _n4(o: Options) -> str:
    iterations = listed(o["iterations"])
    return f"corrected for the bias field by N4 (shrink factor {o['shrink']}, at most {iterations} iterations)"


def _denoise(o: Options) -> str:
    return f"denoised by a bilateral filter (radius {o['radius_voxels']:g} voxels, strength {o['strength']:g})"


def _remove_background(o: Options) -> str:
    level = {None: "the noise of the air, holes filled", "otsu": "Otsu's threshold"}.get(
        o["threshold"], f"{o['threshold']} of the intensity range"
    )
    kept = "the largest component" if o["keep"] == "largest" else f"components of {o['min_voxels']} voxels and more"
    crop = ", and cropped to it" if o["crop"] else ""
    return f"blanked outside the body ({kept} above {level}){crop}"


def _crop_to_mask(o: Options) -> str:
    if o["shape"]:
        return f"cropped to {times(o['shape'])} voxels around {mask_named(o['mask'])}"
    return f"cropped to the box around {mask_named(o['mask'])} with a margin of {o['margin_voxels']} voxels"


def _over(o: Options) -> str:
    return f" of the voxels in {mask_named(o['mask'])}" if o.get("mask") else ""


def _zscore(o: Options) -> str:
    over = " over its voxels that are not 0" if o["nonzero"] else f" over {mask_named(o['mask'])}" if o["mask"] else ""
    return f"standardised volume by volume to mean 0 and standard deviation 1{over}"


def _edge_slices(o: Options) -> str:
    if o["rule"] == "middle":
        return "reduced to the middle of three groups of slices (k-means on the share of dark pixels)"
    return f"cut to the range of slices whose share of foreground was at least {o['least']:g} of the largest such share"


def _register(o: Options) -> str:
    limits = f"at most {o['limit_mm']:g} mm and {o['limit_degrees']:g} degrees"
    return f"registered to {o['reference']} rigidly by mutual information ({limits})"


# step -> words that follow "were", and what they cite
WORDS: dict[str, tuple[Callable[[Options], str], tuple[str, ...]]] = {
    "first_channel": (lambda o: "reduced to their first colour channel where they had several", ()),
    "min_max_uint8": (lambda o: "scaled to 8 bits between their smallest and largest voxel", ()),
    "reorient": (_reorient, ()),
    "resample": (_resample, ("Unser1999",)),
    "resize": (_resize, ("Unser1999",)),
    "nominal_spacing": (_nominal_spacing, ()),
    "register": (_register, ("Mattes2003",)),
    "match_grid": (lambda o: f"brought onto the grid of {o['reference']}", ()),
    "skull_strip": (_skull_strip, ()),
    "n4": (_n4, ("Tustison2010",)),
    "denoise": (_denoise, ("Tomasi1998",)),
    "equalise": (
        lambda o: f"equalised in their histogram ({o['bins']} levels{', of the body' if o['body'] else ''})",
        (),
    ),
    "remove_background": (_remove_background, ()),
    "apply_mask": (lambda o: f"blanked outside {mask_named(o['mask'])}", ()),
    "body_crop": (lambda o: f"cropped to the body with a margin of {o['margin_voxels']} voxels", ()),
    "crop_or_pad": (lambda o: f"cropped or padded to {times(o['shape'])} voxels", ()),
    "crop_to_mask": (_crop_to_mask, ()),
    "clip_percentile": (lambda o: f"clipped to the percentiles {o['low']:g} and {o['high']:g}{_over(o)}", ()),
    "zscore": (_zscore, ()),
    "normalise_percentile": (
        lambda o: f"scaled so that the percentiles {o['low']:g} and {o['high']:g}{_over(o)} became 0 and 1",
        (),
    ),
    "nyul": (
        lambda o: f"mapped to a standard scale of {len(o['standard'])} landmarks that the study file gives",
        ("Nyul2000",),
    ),
    "edge_slices": (_edge_slices, ()),
    "zscore_slices": (lambda o: "standardised slice by slice to mean 0 and standard deviation 1", ()),
}


def told(step: Plugin) -> str:
    """What a step did to the scans, as it follows "were"."""
    known = inspect.signature(STEPS[step.name]).parameters.values()
    defaults = {p.name: p.default for p in known if p.kind is p.KEYWORD_ONLY}
    missing = {name: None if value is inspect.Parameter.empty else value for name, value in defaults.items()}
    return WORDS[step.name][0](missing | step.options)


def cited(steps: Sequence[Plugin]) -> tuple[str, ...]:
    """What the steps cite, each once."""
    return tuple(dict.fromkeys(key for step in steps for key in WORDS[step.name][1]))
