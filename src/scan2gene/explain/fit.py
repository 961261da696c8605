"""The maps of one fit: one exam at a time, written beside its scan and scored."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from scan2gene.cohorts.split import parts_of
from scan2gene.core.console import Progress
from scan2gene.core.errors import Scan2GeneError, StudyError
from scan2gene.core.rundir import MapsDirectory, StoreDirectory
from scan2gene.core.section import Plugin
from scan2gene.core.tables import read_csv, write_csv
from scan2gene.core.volume import Volume
from scan2gene.data.samples import Samples
from scan2gene.explain.choose import CHOSEN_COLUMNS
from scan2gene.explain.features import layer_of
from scan2gene.explain.grid import on_grid, unique_slug
from scan2gene.explain.maps import Attended, Explained, exam_maps, lesion_voxels, seen_voxels
from scan2gene.explain.randomise import STEPS, cascade
from scan2gene.explain.score import hit, rank_correlation
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.nifti import read_nifti, write_nifti
from scan2gene.learners import learner_of
from scan2gene.models.networks import build_network
from scan2gene.predict.aggregate import aggregation, load_aggregate
from scan2gene.preprocess.slice_selection import with_gaps
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import output_name
from scan2gene.tasks.run_config import RunConfig

MAP_COLUMNS = (
    *CHOSEN_COLUMNS, "method", "role", "image", "mask", "map", "map_on_scan", "energy", "lesion_fraction", "pointing",
    "energy_random", "reason",
)  # fmt: skip
RANDOMISED_COLUMNS = ("run_id", "split", "target", "method", "exam_id", "step", "correlation")
EMPTY = "the map is empty"  # the report looks for these words
BY_THRESHOLD = ", which the threshold chose although the probability lies on the other side of 0.5"
CHECKED = 4  # exams of a fit and target on which the layers are randomised


def explain_fit(fit: Explained, rows: pd.DataFrame, methods: Sequence[Plugin], out: Path, folder: Path) -> list[Path]:
    """Make, score and write the maps of one fit.

    Args:
        fit: The network.
        rows: Of `chosen_exams`.
        methods: Checked before; the first also undergoes the randomisation.
        out: The run directory; paths in the tables are relative to it.
        folder: Below it; what lies there goes.

    Returns:
        The files written: maps.csv, randomised.csv, and two NIfTI for every picked exam,
        target and method, one on the prepared grid and one on that of the scan; of slices for
        every role too, and the table names the role that holds most of the map.
    """
    shutil.rmtree(folder, ignore_errors=True)
    maps, files = [], []
    progress = Progress("maps", len(methods) * len(rows))
    for method in methods:
        for row in rows.to_dict("records"):
            made, written = _one(fit, row, method, out, folder)
            maps.append(made)
            files += written
            progress.tell(len(maps))
    tables = {
        MapsDirectory(folder).maps.path: pd.DataFrame(maps, columns=list(MAP_COLUMNS)),
        MapsDirectory(folder).randomised.path: _randomised(fit, rows, methods[0]),
    }
    for path, table in tables.items():
        write_csv(path, table)
    return [*tables, *files]


def read_maps(path: Path) -> pd.DataFrame:
    """maps.csv with numbers and truth values as such."""
    table = read_csv(path, MAP_COLUMNS)
    for column in ("threshold", "energy", "lesion_fraction", "pointing", "energy_random"):
        table[column] = pd.to_numeric(table[column])
    return table.assign(**{c: table[c] == "True" for c in ("picked", "drawn")})


def read_randomised(path: Path) -> pd.DataFrame:
    """randomised.csv with numbers as such."""
    table = read_csv(path, RANDOMISED_COLUMNS)
    return table.assign(correlation=pd.to_numeric(table["correlation"]))


def _one(
    fit: Explained, row: dict[str, Any], method: Plugin, out: Path, folder: Path
) -> tuple[dict[str, Any], list[Path]]:
    exam = row["exam_id"]
    arrays = exam_maps(fit, fit.model, row, method)
    role = max(arrays, key=lambda r: float(arrays[r].sum(dtype=np.float64)))  # the first where all are alike
    made = row | {"method": method.name, "role": role, "image": (fit.store / fit.files[exam, role]).relative_to(out)}
    lesion: Mapping[str, np.ndarray] | None = None
    try:
        lesion = lesion_voxels(fit, exam, list(arrays))
    except (Scan2GeneError, OSError, KeyError):  # which slices are kept may be known from the scan only
        made["reason"] = "the scan could not be opened, so its slices cannot be laid beside the lesion"
    if lesion is not None:
        made["mask"] = (fit.store / fit.files[exam, str(fit.mask)]).relative_to(out)
        seen = seen_voxels(fit, row)
        inside = _flat(lesion, seen)
        found = hit(_flat(arrays, seen), inside)
        if found:
            made |= {"energy": found.energy, "lesion_fraction": found.fraction, "pointing": found.pointing}
            control = hit(_flat(exam_maps(fit, fit.fresh, row, method), seen), inside) if row["drawn"] else None
            made["energy_random"] = control.energy if control else None
        elif any(array.any() for array in arrays.values()):
            made["reason"] = f"the lesion is not in the prepared field{' of this side' if row['side'] else ''}"
    if not any(array.any() for array in arrays.values()):
        made["reason"] = empty_reason(row)
    return _written(fit, made, arrays, lesion, out, folder) if row["picked"] else (made, [])


def empty_reason(row: Mapping[str, Any]) -> str:
    """Why a map is all 0; begins with `EMPTY`.

    A logit is a bias and what the places of the layer add to it. A threshold that is not 0.5 may choose the class
    against which the logit speaks, and then often every place does.
    """
    against = (float(row["prob"]) >= 0.5) != (row["class"] == "positive")
    why = "no place of the layer speaks for this class"
    return f"{EMPTY}: {why}{BY_THRESHOLD if against else ''}"


def _written(
    fit: Explained, made: dict[str, Any], arrays: Mapping[str, np.ndarray], lesion: Mapping[str, np.ndarray] | None,
    out: Path, folder: Path,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """Write the maps of one exam; the table's row names those of its role."""
    exam, written = made["exam_id"], list[Path]()
    stem = f"{unique_slug(exam)}_{unique_slug(output_name(made['target'], made['side']))}_{made['method']}"
    for role, array in arrays.items():
        name = f"{stem}_{unique_slug(role)}" if fit.of_roles else stem
        prepared, on_scan = folder / f"{name}_prepared.nii.gz", folder / f"{name}.nii.gz"
        affine = read_nifti(fit.store / fit.files[exam, role]).affine
        write_nifti(Volume(array, affine), prepared)
        written.append(prepared)
        told: dict[str, Any] = {"map": prepared.relative_to(out)}
        if fit.of_roles and lesion is not None:  # a mask keeps slices that the scan lost, or is of another role
            on_slices = folder / f"{name}_mask.nii.gz"
            write_nifti(Volume(lesion[role].astype(np.uint8), affine, "label"), on_slices)
            written.append(on_slices)
            told["mask"] = on_slices.relative_to(out)
        try:
            volume = with_gaps(Volume(array, affine), fit.kept(exam, role))
            write_nifti(on_grid(volume, read_volume(fit.scans[exam, role])), on_scan)
            told["map_on_scan"] = on_scan.relative_to(out)
            written.append(on_scan)
        except (Scan2GeneError, OSError, KeyError):  # the scans may have moved since they were prepared
            told["reason"] = "the scan could not be opened, so its map is on the prepared grid only"
        if role == made["role"]:
            made |= told
    return made, written


def _flat(arrays: Mapping[str, np.ndarray], seen: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array[seen[role]] for role, array in arrays.items()])


def _randomised(fit: Explained, rows: pd.DataFrame, method: Plugin) -> pd.DataFrame:
    """Rank correlation of the maps of some picked exams with those of ever more random networks."""
    picked = rows[rows["picked"]].sort_values("kind", kind="stable").groupby("target", sort=False).head(CHECKED)
    cases = picked.to_dict("records")
    maps = [exam_maps(fit, fit.model, row, method) for row in cases]
    seen = [seen_voxels(fit, row) for row in cases]
    before = [_flat(arrays, there) for arrays, there in zip(maps, seen, strict=True)]
    found: list[dict[str, Any]] = []
    progress = Progress("maps of the randomisation check", len(cases) * STEPS)
    for step, broken in cascade(fit.model, fit.fresh) if cases else ():
        for row, original, there in zip(cases, before, seen, strict=True):
            correlation = rank_correlation(original, _flat(exam_maps(fit, broken, row, method), there))
            found.append({**row, "method": method.name, "step": step, "correlation": correlation})
            progress.tell(len(found))
    progress.end()
    return pd.DataFrame(found, columns=list(RANDOMISED_COLUMNS))


def load_fit(
    fit: Fit, data: Samples, store: StoreDirectory, scans: Mapping[tuple[str, str], str],
    kept: Callable[[str, str], np.ndarray | None], mask: str | None,
) -> Explained:  # fmt: skip
    """The network of a fit, with all that its maps need.

    Args:
        fit: The fit.
        data: Its samples.
        store: Its prepared volumes.
        scans: (exam_id, role) -> what `read_volume` opens.
        kept: See `Explained`.
        mask: Role of the lesion.

    Raises:
        RunError: What joins instances to exams is not there.
    """
    config, layer, folder = fit.config, fit.config.layer, fit.folder.path
    device = "cuda" if torch.cuda.is_available() and config.train.device in ("auto", "cuda") else "cpu"
    model = learner_of(config).load(fit).requires_grad_(True)  # also a frozen encoder has gradients to show
    aggregate = load_aggregate(aggregation(config)[0], config.outputs, folder)
    if aggregate.attention is not None:
        model, layer = Attended(model, aggregate.attention), layer and f"network.{layer}"
    manifest = store.manifest.read()
    files = manifest[manifest["status"] == "ok"].set_index(["exam_id", "role"])["file"].to_dict()
    return Explained(
        model.to(device), _random(model, config.seed).to(device), data, parts_of(fit, data.table), aggregate,
        config.roles, store.path, files, scans, kept, mask, layer, config.data.batch_size, config.seed,
    )  # fmt: skip


def _random(model: nn.Module, seed: int) -> nn.Module:
    """The same network with random weights, whatever it started from; the caller's stream stays as it is."""
    fresh = copy.deepcopy(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in fresh.modules():
            reset: Any = getattr(module, "reset_parameters", None)
            if reset is not None:
                reset()
            else:
                for parameter in module.parameters(recurse=False):
                    nn.init.normal_(parameter, std=0.02)
    return fresh


def check_layer(config: RunConfig) -> None:
    """Refuse a layer that the run's network lacks, before any work starts.

    Raises:
        StudyError: With the names of the outer layers.
    """
    if config.layer is not None:
        try:
            layer_of(build_network(config), config.layer)
        except StudyError as error:
            raise StudyError(f"run {config.name}: {error}") from None
