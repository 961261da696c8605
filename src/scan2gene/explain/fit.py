"""The maps of one fit: one exam at a time, written beside its scan and scored."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scan2gene.cohorts.split import parts_of
from scan2gene.core.console import Progress
from scan2gene.core.errors import Scan2GeneError, StudyError
from scan2gene.core.files import value_hash
from scan2gene.core.rundir import MapsDirectory, StoreDirectory
from scan2gene.core.section import Plugin
from scan2gene.core.study import Study, for_run, input_roles
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import read_csv, write_csv
from scan2gene.core.volume import Volume
from scan2gene.data.images import to_input
from scan2gene.data.samples import Samples
from scan2gene.explain import METHODS, options_of
from scan2gene.explain.asked import Asked
from scan2gene.explain.by_slice import Attended, Slices, maps_by_role, seen_slices, slices_of
from scan2gene.explain.choose import CHOSEN_COLUMNS
from scan2gene.explain.features import layer_of
from scan2gene.explain.grid import on_grid, unique_slug
from scan2gene.explain.halves import region, sided_map
from scan2gene.explain.randomise import STEPS, cascade
from scan2gene.explain.score import hit, rank_correlation
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.nifti import read_nifti, write_nifti
from scan2gene.models.sides import TwoSides
from scan2gene.preprocess.slice_selection import laid_on, with_gaps
from scan2gene.tasks.outputs import output_name, output_names
from scan2gene.train.networks import build_network, load_network

MAP_COLUMNS = (
    *CHOSEN_COLUMNS, "method", "role", "image", "mask", "map", "map_on_scan", "energy", "lesion_fraction", "pointing",
    "energy_random", "reason",
)  # fmt: skip
RANDOMISED_COLUMNS = ("run_id", "split", "target", "method", "exam_id", "step", "correlation")
BACKGROUND = 16  # training exams that `gradient_shap` compares with
EMPTY = "the map is empty"  # the report looks for these words
BY_THRESHOLD = ", which the threshold chose although the probability lies on the other side of 0.5"
CHECKED = 4  # exams of a fit and target on which the layers are randomised


@dataclass(frozen=True)
class Fit:
    """A trained network and what is needed to explain it.

    Args:
        model: The trained network.
        fresh: The same with random weights.
        data: The cohort as it sees it.
        roles: Its channels.
        targets: Names of its logits, each side of its own.
        store: Folder of the prepared volumes.
        files: (exam_id, role) -> file in the store.
        scans: (exam_id, role) -> what `read_volume` opens.
        training: Positions of training exams in `data`.
        mask: Role of the lesion, if there is one.
        layer: For Grad-CAM; None: the model's own.
        seed: Of every draw.
        slices: Of a network of slices: how they become an answer.
    """

    model: nn.Module
    fresh: nn.Module
    data: Samples
    roles: Sequence[str]
    targets: Sequence[str]
    store: Path
    files: Mapping[tuple[str, str], str]
    scans: Mapping[tuple[str, str], str]
    training: Sequence[int]
    mask: str | None
    layer: str | None
    seed: int
    slices: Slices | None = None


def explain_fit(fit: Fit, rows: pd.DataFrame, methods: Sequence[Plugin], out: Path, folder: Path) -> list[Path]:
    """Make, score and write the maps of one fit.

    Args:
        fit: The network.
        rows: Of `chosen_exams`.
        methods: Checked by `check_methods`; the first also undergoes the randomisation.
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


def _one(fit: Fit, row: dict[str, Any], method: Plugin, out: Path, folder: Path) -> tuple[dict[str, Any], list[Path]]:
    exam = row["exam_id"]
    arrays = _arrays(fit, fit.model, row, method)
    role = max(arrays, key=lambda r: float(arrays[r].sum(dtype=np.float64)))  # the first where all are alike
    made = row | {"method": method.name, "role": role, "image": (fit.store / fit.files[exam, role]).relative_to(out)}
    lesion: Mapping[str, np.ndarray] | None = None
    try:
        lesion = _lesion(fit, exam, list(arrays))
    except (Scan2GeneError, OSError, KeyError):  # which slices are kept may be known from the scan only
        made["reason"] = "the scan could not be opened, so its slices cannot be laid beside the lesion"
    if lesion is not None:
        made["mask"] = (fit.store / fit.files[exam, str(fit.mask)]).relative_to(out)
        seen = _seen(fit, row, arrays)
        inside = _flat(lesion, seen)
        found = hit(_flat(arrays, seen), inside)
        if found:
            made |= {"energy": found.energy, "lesion_fraction": found.fraction, "pointing": found.pointing}
            control = hit(_flat(_arrays(fit, fit.fresh, row, method), seen), inside) if row["drawn"] else None
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
    fit: Fit, made: dict[str, Any], arrays: Mapping[str, np.ndarray], lesion: Mapping[str, np.ndarray] | None,
    out: Path, folder: Path,
) -> tuple[dict[str, Any], list[Path]]:  # fmt: skip
    """Write the maps of one exam; the table's row names those of its role."""
    exam, written = made["exam_id"], list[Path]()
    stem = f"{unique_slug(exam)}_{unique_slug(output_name(made['target'], made['side']))}_{made['method']}"
    for role, array in arrays.items():
        name = f"{stem}_{unique_slug(role)}" if fit.slices else stem
        prepared, on_scan = folder / f"{name}_prepared.nii.gz", folder / f"{name}.nii.gz"
        affine = read_nifti(fit.store / fit.files[exam, role]).affine
        write_nifti(Volume(array, affine), prepared)
        written.append(prepared)
        told: dict[str, Any] = {"map": prepared.relative_to(out)}
        if fit.slices and lesion is not None:  # a mask keeps slices that the scan lost, or is of another role
            on_slices = folder / f"{name}_mask.nii.gz"
            write_nifti(Volume(lesion[role].astype(np.uint8), affine, "label"), on_slices)
            written.append(on_slices)
            told["mask"] = on_slices.relative_to(out)
        try:
            kept = fit.slices.kept(exam, role) if fit.slices else None
            volume = with_gaps(Volume(array, affine), kept)
            write_nifti(on_grid(volume, read_volume(fit.scans[exam, role])), on_scan)
            told["map_on_scan"] = on_scan.relative_to(out)
            written.append(on_scan)
        except (Scan2GeneError, OSError, KeyError):  # the scans may have moved since they were prepared
            told["reason"] = "the scan could not be opened, so its map is on the prepared grid only"
        if role == made["role"]:
            made |= told
    return made, written


def _arrays(fit: Fit, model: nn.Module, row: Mapping[str, Any], method: Plugin) -> dict[str, np.ndarray]:
    """The map of one exam by the role on whose prepared grid it lies: the first of an exam, or of slices each."""
    if fit.slices:
        device = next(model.parameters()).device
        return maps_by_role(fit, model, row, _with_layer(fit, method), _output(fit, row), _seed(fit, row),
                            _background(fit, method, device))  # fmt: skip
    role = next(r for r in fit.roles if (row["exam_id"], r) in fit.files)
    return {role: exam_map(fit, model, row, method)}


def _flat(arrays: Mapping[str, np.ndarray], seen: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([array[seen[role]] for role, array in arrays.items()])


def exam_map(fit: Fit, model: nn.Module, row: Mapping[str, Any], method: Plugin) -> np.ndarray:
    """Map of one exam, (I, J, K) float32, for the class of `row`."""
    position = int(np.flatnonzero(fit.data.table["exam_id"].to_numpy() == row["exam_id"])[0])
    device = next(model.parameters()).device
    x, present = _input(fit.data, [position], device)
    sign = torch.tensor([1.0 if row["class"] == "positive" else -1.0], device=device)
    background, method = _background(fit, method, device), _with_layer(fit, method)
    asked = Asked(model.eval(), x, present, _output(fit, row), sign, (_seed(fit, row),), background)
    found = sided_map(asked, method) if isinstance(model, TwoSides) else METHODS[method.name](asked, **method.options)
    return found.reshape(x.shape[2:]).float().cpu().numpy().T  # (D, H, W) -> (I, J, K)


def _background(fit: Fit, method: Plugin, device: torch.device) -> Tensor | None:
    if method.name != "gradient_shap":
        return None
    draw = np.random.default_rng(fit.seed).permutation(len(fit.training))[:BACKGROUND]
    return _input(fit.data, [fit.training[i] for i in draw], device)[0]


def _with_layer(fit: Fit, method: Plugin) -> Plugin:
    own = {"layer": fit.layer} if fit.layer and "layer" in options_of(method.name) else {}
    return Plugin(name=method.name, options=own | method.options)


def _seed(fit: Fit, row: Mapping[str, Any]) -> int:
    return int(value_hash([fit.seed, row["exam_id"], row["target"]]), 16) % 2**63


def _output(fit: Fit, row: Mapping[str, Any]) -> int:
    return list(fit.targets).index(output_name(row["target"], row["side"]))


def _input(data: Samples, rows: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    chosen = torch.as_tensor(list(rows))
    present = data.present[chosen].to(device)
    return to_input(data.images[chosen.to(data.images.device)].to(device), present), present


def _seen(fit: Fit, row: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Voxels (I, J, K) that have a say in the answer: of one side, or in the slices that the network saw."""
    if fit.slices:
        return seen_slices(fit, row["exam_id"], arrays)
    if not isinstance(fit.model, TwoSides):
        return {role: np.ones(array.shape, bool) for role, array in arrays.items()}
    return {role: region(fit.model, a.shape[::-1], _output(fit, row)).numpy().T for role, a in arrays.items()}


def _lesion(fit: Fit, exam: str, roles: Sequence[str]) -> dict[str, np.ndarray] | None:
    """The lesion in the voxels of each role's map; None where the exam has no mask."""
    if fit.mask is None or (exam, fit.mask) not in fit.files:
        return None
    mask = read_nifti(fit.store / fit.files[exam, fit.mask], "label")
    if not fit.slices:
        return {roles[0]: mask.array > 0}
    images = {role: read_nifti(fit.store / fit.files[exam, role]) for role in roles}
    return {role: laid_on(mask, image, fit.slices.kept(exam, role)) for role, image in images.items()}


def _randomised(fit: Fit, rows: pd.DataFrame, method: Plugin) -> pd.DataFrame:
    """Rank correlation of the maps of some picked exams with those of ever more random networks."""
    picked = rows[rows["picked"]].sort_values("kind", kind="stable").groupby("target", sort=False).head(CHECKED)
    cases = picked.to_dict("records")
    maps = [_arrays(fit, fit.model, row, method) for row in cases]
    seen = [_seen(fit, row, arrays) for row, arrays in zip(cases, maps, strict=True)]
    before = [_flat(arrays, there) for arrays, there in zip(maps, seen, strict=True)]
    found: list[dict[str, Any]] = []
    progress = Progress("maps of the randomisation check", len(cases) * STEPS)
    for step, broken in cascade(fit.model, fit.fresh) if cases else ():
        for row, original, there in zip(cases, before, seen, strict=True):
            correlation = rank_correlation(original, _flat(_arrays(fit, broken, row, method), there))
            found.append({**row, "method": method.name, "step": step, "correlation": correlation})
            progress.tell(len(found))
    progress.end()
    return pd.DataFrame(found, columns=list(RANDOMISED_COLUMNS))


def load_fit(
    study: Study, run: Run, data: Samples, trained: Path, store: Path, cohort: pd.DataFrame,
    paths: Mapping[str, str], parts: Mapping[str, str], fold: Mapping[str, Any], mask: str | None,
) -> Fit:  # fmt: skip
    """A fold's network, with all that its maps need.

    Args:
        study: As the run sees it (`for_run`).
        run: The run.
        data: Its cohort.
        trained: Folder of the checkpoint.
        store: Of its prepared volumes.
        cohort: cohort.csv.
        paths: series_id -> what `read_volume` opens.
        parts: patient_id -> train, validation, test.
        fold: split, repeat, fold.
        mask: Role of the lesion.

    Raises:
        RunError: What fuses slices is not there.
    """
    roles, layer = input_roles(study), study.explain.layer.get(run.name)
    device = "cuda" if torch.cuda.is_available() and study.train.device in ("auto", "cuda") else "cpu"
    model = load_network(study, run, trained).requires_grad_(True)  # also a frozen encoder has gradients to show
    part = parts_of(study, data.table, parts, fold)
    slices = None
    if study.data.slices:
        slices = slices_of(study, part, trained, cohort, paths)
        if slices.aggregate.attention is not None:
            model, layer = Attended(model, slices.aggregate.attention), layer and f"network.{layer}"
    manifest = StoreDirectory(store).manifest.read()
    ready = manifest[manifest["status"] == "ok"]
    scans = {
        (exam["exam_id"], role): paths[exam[f"role:{role}"]]
        for exam in cohort.to_dict("records")
        for role in roles
        if exam[f"role:{role}"] in paths
    }
    return Fit(
        model.to(device), _random(model, study.seed).to(device), data, roles, output_names(study), store,
        ready.set_index(["exam_id", "role"])["file"].to_dict(), scans, np.flatnonzero(part == "train").tolist(), mask,
        layer, study.seed, slices,
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


def check_layers(study: Study) -> None:
    """Refuse layers that a run's network lacks, before any work starts.

    Raises:
        StudyError: With the names of the outer layers.
    """
    for run in study.runs:
        if run.name in study.explain.layer:
            try:
                layer_of(build_network(for_run(study, run), run), study.explain.layer[run.name])
            except StudyError as error:
                raise StudyError(f"run {run.name}: {error}") from None
