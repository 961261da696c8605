"""What a study leaves open, chosen from its cohort: steps, grid, batch, augmentation, runs.

Choices depend on the exams that were curated, on no label, and on the size of a grid that
the machine can train. They are made once and kept in `plan.json`, so that a run that goes on
elsewhere goes on with the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.cohorts.odd_series import unlike
from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.geometry import THIN, bounding_box
from scan2gene.core.machine import available_memory, has_gpu
from scan2gene.core.section import Plugin
from scan2gene.core.study import Study, input_roles
from scan2gene.core.study_cohort import RESERVED_CLASSES
from scan2gene.core.study_features import Features
from scan2gene.core.study_runs import Data, Predict, Run, Split, Train
from scan2gene.core.text import dimensions, file_size
from scan2gene.imaging.index import read_volume
from scan2gene.plan.portfolio import Portfolio, computes, feature_steps, portfolio
from scan2gene.plan.training import is_fixed, seeds_of, training
from scan2gene.preprocess.recipe import apply_recipe
from scan2gene.preprocess.resample import like

SAMPLED = 12  # exams that are opened to measure bodies and lesions
VOXELS = {"cpu": 150_000, "gpu": 1_500_000}  # of a grid: a step of the light CNN takes about a second
LESION_SHARE = 0.25  # of these voxels for the neighbourhood of a lesion
LESION_MARGIN_MM = 10.0
ENCLOSED = 0.9  # of the exams whose body, or lesion, fits the grid whole
SLICE_SIZE, SLICE_BATCH = 224, 32  # pixels along both sides, and slices, of the GBM study
MULTIPLE = 8  # networks halve the field three times
BATCH = 8
SMALL_COHORT = 64  # patients below which a batch is half as large
BYTES_PER_VOXEL = 400.0  # of one role, in a training step of the light CNN
MEMORY_SHARE = 0.5
WHOLE_VOLUME_FROM = 300  # patients, where there is a mask


@dataclass(frozen=True)
class Fingerprint:
    """What was measured in a cohort; lengths along left-right, front-back, head-foot.

    Args:
        exams: How many were opened.
        spacing: Median size of a voxel, mm.
        field: Median field of view, mm.
        body: Voxel counts x spacing of the body's box, mm, that encloses nine in ten exams.
        lesion: The same of the first mask, None without one.
        believed: False when the slice spacing in the files cannot be true.
        outliers: Opened exams that do not count, as their field is unlike all others.
    """

    exams: int
    spacing: tuple[float, float, float]
    field: tuple[float, float, float]
    body: tuple[float, float, float]
    lesion: tuple[float, float, float] | None
    believed: bool
    outliers: int = 0


def left_open(study: Study) -> list[str]:
    """Keys that the study file does not set and that are chosen for it."""
    keys = {
        "preprocess": "preprocess" not in study.model_fields_set,
        "splits": "splits" not in study.model_fields_set,
        "runs": not study.runs,
        "data.batch_size": "batch_size" not in study.data.model_fields_set,
        "data.augment": "augment" not in study.data.model_fields_set,
    }
    return [key for key, is_open in keys.items() if is_open]


def choose(
    study: Study, cohort: pd.DataFrame, labels: pd.DataFrame, paths: Mapping[str, str], hide: Callable[[str], str] = str
) -> dict[str, Any]:
    """Choose what the study leaves open.

    Args:
        study: As its file says it.
        cohort: cohort.csv.
        labels: labels.csv; only for the number of folds that the rarest class allows.
        paths: series_id -> what `read_volume` opens.
        hide: Takes out of a message what must not be shown.

    Returns:
        What plan.json holds: `chosen` (key -> value, as a study file has it), `why` (key ->
        sentence) and `fingerprint`. All three are empty when nothing is open.
    """
    keys = left_open(study)
    chosen: dict[str, Any] = {}
    why: dict[str, str] = {}
    if not study.cohort.scans:
        return _for_tables(study, labels, keys)
    patients = cohort["patient_id"].nunique()
    fixed = is_fixed(study, patients)
    machine = "cpu" if study.train.device == "cpu" or not has_gpu() else "gpu"
    if study.data.slices is not None:
        chosen = {k: v for k, v in _for_slices(study).items() if k in keys}
        why = {k: _SLICES_WHY[k] for k in chosen}
        if "splits" in keys:
            chosen["splits"], why["splits"] = _splits(labels, fixed)
        _add_training(study, patients, 0, chosen, why)
        return {"chosen": chosen, "why": why, "fingerprint": {}, "machine": machine if chosen else ""}
    measured = {"preprocess", "data.augment"} | (set() if computes(study) else {"runs"})
    found = _fingerprint(study, cohort, paths, hide) if measured & set(keys) else None
    lesion: list[dict[str, Any]] = []
    voxels = VOXELS[machine]
    if found and "preprocess" in keys:
        chosen["preprocess"], why["preprocess"], shape = _whole(study, found, voxels)
        lesion = _lesion(study, found, voxels)
        voxels = int(np.prod(shape))
    if "splits" in keys:
        chosen["splits"], why["splits"] = _splits(labels, fixed)
    if "data.batch_size" in keys:
        chosen["data.batch_size"], why["data.batch_size"] = _batch(study, cohort, voxels)
        if chosen["data.batch_size"] < BATCH and "accumulate" not in study.train.model_fields_set:
            chosen["train.accumulate"] = _usual_batch(cohort) // chosen["data.batch_size"]
            why["train.accumulate"] = "so that one update sees as many exams as a larger batch would"
    if found and "data.augment" in keys:
        mirrored = "preprocess" in keys or any(s.name == "reorient" for s in study.preprocess)
        chosen["data.augment"], why["data.augment"] = _augment(found, mirrored)
    if "runs" in keys:
        planned = _portfolio(study, found, lesion, patients)
        if planned.features:
            chosen["features"], why["features"] = planned.features, "grey values as scanned, in one frame"
        chosen["runs"], why["runs"] = planned.runs, "; ".join(planned.why)
        mirrored = any(step["name"] == "flip" for step in chosen.get("data.augment", []))
        if mirrored and "flips" not in study.predict.model_fields_set:
            chosen["predict.flips"] = ["i"]
            why["predict.flips"] = "training saw mirrored exams, so answers are averaged over both"
    batch = chosen.get("data.batch_size", study.data.batch_size)
    _add_training(study, patients, batch * chosen.get("train.accumulate", study.train.accumulate), chosen, why)
    fingerprint = {} if found is None else vars(found)
    return {"chosen": chosen, "why": why, "fingerprint": fingerprint, "machine": machine if chosen else ""}


def _add_training(study: Study, patients: int, batch: int, chosen: dict[str, Any], why: dict[str, str]) -> None:
    """Put how planned networks are trained to what is chosen and why; see `training`."""
    splits = [Split.model_validate(s) for s in chosen["splits"]] if "splits" in chosen else study.splits
    more, reasons = training(study, splits, patients, batch)
    chosen |= more
    why |= reasons


def _for_tables(study: Study, labels: pd.DataFrame, keys: list[str]) -> dict[str, Any]:
    """What a study without scans gets for the keys it leaves open; models on tables need no validation part."""
    chosen, why = {}, {}
    if "splits" in keys:
        chosen["splits"], why["splits"] = _splits(labels, fixed="runs" in keys)
    if "runs" in keys:
        planned = portfolio(study, [], True, [], labels["patient_id"].nunique())
        chosen["runs"], why["runs"] = planned.runs, "; ".join(planned.why)
    return {"chosen": chosen, "why": why, "fingerprint": {}, "machine": ""}


def with_choices(study: Study, chosen: Mapping[str, Any]) -> Study:
    """The study with what was chosen for it; what its file sets stays."""
    data = {k.removeprefix("data."): v for k, v in chosen.items() if k.startswith("data.")}
    train = {k.removeprefix("train."): v for k, v in chosen.items() if k.startswith("train.")}
    flips = {"flips": chosen["predict.flips"]} if "predict.flips" in chosen else {}
    changed: dict[str, Any] = {
        "data": Data.model_validate(study.data.model_dump() | data),
        "train": Train.model_validate(study.train.model_dump() | train),
        "predict": Predict.model_validate(study.predict.model_dump() | flips),
    }
    kinds: dict[str, Any] = {"preprocess": Plugin, "splits": Split, "runs": Run}
    for key, kind in kinds.items():
        if key in chosen:
            changed[key] = [kind.model_validate(value) for value in chosen[key]]
    if "features" in chosen:
        planned = {n: Features.model_validate(value) for n, value in chosen["features"].items()}
        changed["features"] = planned | study.features
    if chosen.get("data.augment"):  # a frozen encoder sees every exam once, unchanged
        changed["runs"] = [
            r.model_copy(update={"data": {"augment": [], **r.data}}) if r.weights and r.weights.probes else r
            for r in changed.get("runs", study.runs)
        ]
    return study.model_copy(update=changed)


def _fingerprint(
    study: Study, cohort: pd.DataFrame, paths: Mapping[str, str], hide: Callable[[str], str]
) -> Fingerprint:
    """Open some exams, evenly over the cohort, and measure them."""
    role = reference_role(study)
    mask = next((n for n, r in study.cohort.roles.items() if r.kind == "label"), None)
    marked = study.cohort.roles[mask].threshold if mask else None
    having = cohort[cohort[f"role:{role}"].notna()]
    rows = having.iloc[np.unique(np.linspace(0, len(having) - 1, min(SAMPLED, len(having))).astype(int))]
    measured, lesions, trouble = [], [], "no exam has it"
    for exam in rows.to_dict("records"):
        try:
            volume = read_volume(paths[exam[f"role:{role}"]])
            steps = [Plugin(name="first_channel"), Plugin(name="reorient", options={"axes": "LAS"})]
            upright = apply_recipe({role: volume}, steps)[role]
            body = apply_recipe({role: upright}, [Plugin(name="body_crop", options={"reference": role})])[role]
            measured.append((upright.spacing_mm, upright.shape, body.shape))
            if mask and isinstance(exam[f"role:{mask}"], str):
                lesion = like(read_volume(paths[exam[f"role:{mask}"]], "label", marked), upright).array > 0
                if lesion.any():
                    low, high = bounding_box(lesion)
                    lesions.append((high - low) * np.asarray(upright.spacing_mm))
        except Scan2GeneError as error:
            trouble = str(error)
    if not measured:
        raise Scan2GeneError(f"no exam could be opened to choose a grid: {hide(trouble)}. Set preprocess in the study.")
    spacings, shapes, bodies = (np.array(column, float) for column in zip(*measured, strict=True))
    odd = unlike(np.sort(shapes * spacings, axis=1))
    spacings, shapes, bodies = spacings[~odd], shapes[~odd], bodies[~odd]
    field = np.median(shapes * spacings, axis=0)
    around = None if not lesions else _triple(np.quantile(lesions, ENCLOSED, axis=0) + 2 * LESION_MARGIN_MM)
    return Fingerprint(
        len(spacings), _triple(np.median(spacings, axis=0)), _triple(field),
        _triple(np.quantile(bodies * spacings, ENCLOSED, axis=0)), around, bool(field.min() >= THIN * field.max()),
        int(odd.sum()),
    )  # fmt: skip


def reference_role(study: Study) -> str:
    """The role whose grid and body all others follow: the first that every exam has, else the first."""
    images = input_roles(study)
    return next((r for r in images if not study.cohort.roles[r].optional), images[0])


def _whole(study: Study, found: Fingerprint, voxels: int) -> tuple[list[dict[str, Any]], str, list[int]]:
    """Steps for the whole body, why, and their grid."""
    field = dimensions(np.rint(found.field))
    spacing, shape = grid(found.body, found.spacing, voxels)
    size = dimensions(shape)
    steps = _begin(study)
    if found.believed:
        steps += [_step("resample", spacing_mm=spacing), _step("crop_or_pad", shape=shape)]
        why = f"nine in ten bodies fit into {size} voxels of {dimensions(spacing)} mm"
    else:
        steps.append(_step("resize", shape=shape))
        why = (
            f"the field of view, {field} mm, is too thin to be true, so the spacing in the files is not believed and "
            f"every field is stretched to {size} voxels"
        )
    if found.outliers:
        why += f"; {found.outliers} of the exams opened have a field of view unlike all others and do not count"
    return [*steps, *_end()], why, shape


def _lesion(study: Study, found: Fingerprint, voxels: int) -> list[dict[str, Any]]:
    """Steps for the neighbourhood of the lesion; empty without masks."""
    mask = next((n for n, r in study.cohort.roles.items() if r.kind == "label"), None)
    if mask is None or found.lesion is None:
        return []
    spacing, shape = grid(found.lesion, found.spacing, int(voxels * LESION_SHARE))
    steps = _begin(study)[:-1]  # the body's box would be cut again
    if found.believed:
        steps += [_step("resample", spacing_mm=spacing), _step("crop_to_mask", mask=mask, shape=shape)]
    else:
        steps += [_step("crop_to_mask", mask=mask, margin_voxels=4), _step("resize", shape=shape)]
    return [*steps, *_end()]


def _for_slices(study: Study) -> dict[str, Any]:
    """What a study of slices gets for the keys it leaves open: the GBM study's, without its risks."""
    return {
        "preprocess": [
            _step("first_channel"), _step("reorient", axes="acquisition"), _step("edge_slices"),
            _step("resize", shape=[SLICE_SIZE, SLICE_SIZE, None]), _step("zscore_slices"),
        ],
        "data.batch_size": SLICE_BATCH,
        "data.augment": [
            _step("affine", rotation_degrees=10, scale=0.1), _step("intensity", scale=0.1, shift=0.05),
            _step("noise", std=0.02),
        ],
        "runs": seeds_of(study, "network", {"model": {"name": "light_cnn2d"}}),
    }  # fmt: skip


_SLICES_WHY = {
    "preprocess": "slices as they were acquired, ends without foreground left out, one size, standardised one by one",
    "data.batch_size": "slices are small",
    "data.augment": "small changes in the plane that leave every label true; no mirroring, as planes differ",
    "runs": "a small network from three seeds, whose mean is the answer, as single seeds scatter",
}


def _begin(study: Study) -> list[dict[str, Any]]:
    """One frame for all exams and roles, without the air around."""
    reference = reference_role(study)
    steps = [_step("first_channel"), _step("reorient", axes="LAS")]
    if len(study.cohort.roles) > 1:
        steps.append(_step("match_grid", reference=reference))
    return [*steps, _step("body_crop", reference=reference)]


def _end() -> list[dict[str, Any]]:
    return [_step("clip_percentile", low=0.5, high=99.5), _step("min_max_uint8")]


def grid(extent_mm: tuple[float, ...], spacing_mm: tuple[float, ...], voxels: int) -> tuple[list[float], list[int]]:
    """The finest grid of about so many voxels that spans an extent.

    Args:
        extent_mm: What is to be spanned, three axes.
        spacing_mm: Not finer than this.
        voxels: As many at most, but for rounding to multiples of eight.

    Returns:
        Spacing in mm, rounded up to 0.1 or, where fewer voxels must span the extent, finer; and shape. The finest
        axis is coarsened first, so thick slices stay as they are as long as they can.
    """
    spacing = np.array(spacing_mm, float)
    while np.prod(np.array(extent_mm) / spacing) > voxels:
        finest = spacing <= spacing.min() * 1.02
        spacing[finest] *= 1.02
    spacing = np.ceil(spacing * 10 - 1e-6) / 10
    counts = np.maximum(2, np.round(np.array(extent_mm) / spacing / MULTIPLE)) * MULTIPLE
    least = np.array(extent_mm) / counts  # fewer must still span it
    rounded = np.maximum(spacing, np.ceil(least * 100 - 1e-6) / 100)
    wide = rounded * counts - extent_mm > rounded * MULTIPLE / 2  # of hundreds of voxels 0.01 mm each are too much
    spacing = np.where(wide, np.maximum(spacing, np.ceil(least * 1000 - 1e-6) / 1000), rounded)
    return [float(round(v, 3)) for v in spacing], [int(n) for n in counts]


def _splits(labels: pd.DataFrame, fixed: bool = False) -> tuple[list[dict[str, Any]], str]:
    """Folds by the rarest class; without a validation part where all training is on a fixed schedule."""
    counts = labels.groupby(["target", "label"])["patient_id"].nunique()
    rarest = int(counts.min()) if len(counts) else 0
    folds = 5 if rarest >= 10 else 3 if rarest >= 5 else 2
    target, label = counts.idxmin() if len(counts) else ("", "")
    named = "" if label in ("", *RESERVED_CLASSES) else f", {label} of {target},"
    split: dict[str, Any] = {"name": "cv", "kind": "kfold", "folds": folds}
    why = f"the rarest class{named} has {rarest} patients"
    if fixed:
        split["validation_fraction"] = 0
        why += "; no validation part, as nothing is stopped or chosen by one"
    return [split], why


def _usual_batch(cohort: pd.DataFrame) -> int:
    return BATCH if cohort["patient_id"].nunique() >= SMALL_COHORT else BATCH // 2


def _batch(study: Study, cohort: pd.DataFrame, voxels: int) -> tuple[int, str]:
    usual = batch = _usual_batch(cohort)
    each = voxels * max(1, len(input_roles(study))) * BYTES_PER_VOXEL
    free = available_memory()
    while batch > 2 and batch * each > MEMORY_SHARE * free:
        batch //= 2
    if batch == usual:
        return batch, f"{cohort['patient_id'].nunique()} patients"
    return batch, f"{usual} exams would need about {file_size(usual * each)} and {file_size(free)} are free"


def _augment(found: Fingerprint, mirrored: bool) -> tuple[list[dict[str, Any]], str]:
    move = round(0.03 * min(found.body), 1)
    steps = [
        _step("affine", rotation_degrees=10, scale=0.1, translation_mm=move),
        _step("intensity", scale=0.1, shift=0.05),
        _step("noise", std=0.02),
    ]
    if not mirrored:
        return (
            steps,
            "small changes that leave every label true; no mirroring, as no step says what i runs along",
        )
    return [_step("flip", axes=["i"]), *steps], "small changes that leave every label true"


def _portfolio(study: Study, found: Fingerprint | None, lesion: list[dict[str, Any]], patients: int) -> Portfolio:
    """Models of a study with scans: networks see the neighbourhood of the mask where there is one."""
    light: dict[str, Any] = {"model": {"name": "light_cnn"}}
    networks = [seeds_of(study, "network", light | ({"preprocess": lesion} if lesion else {}))]
    if lesion and patients >= WHOLE_VOLUME_FROM:
        networks.append(seeds_of(study, "whole", light))
    if found is None:
        return portfolio(study, [], True, networks, patients)
    steps = feature_steps(_begin(study)[:-1], found.spacing, found.field, found.believed)
    return portfolio(study, steps, found.believed, networks, patients)


def _step(name: str, **options: Any) -> dict[str, Any]:
    return {"name": name, "options": options}


def _triple(values: Any) -> tuple[float, float, float]:
    i, j, k = (round(float(v), 2) for v in values)
    return i, j, k
