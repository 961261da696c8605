"""The maps of one fit: one exam at a time, written beside its scan and scored."""

from __future__ import annotations

import copy
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from scan2gene.core.errors import Scan2GeneError, StudyError
from scan2gene.core.files import value_hash
from scan2gene.core.geometry import to_sitk
from scan2gene.core.outputs import output_name, output_names
from scan2gene.core.section import Plugin
from scan2gene.core.study import Study, for_run, input_roles
from scan2gene.core.study_runs import Run
from scan2gene.core.tables import read_csv, write_csv
from scan2gene.core.volume import Volume
from scan2gene.data.cohort import CohortTensors, to_input
from scan2gene.explain import METHODS, options_of
from scan2gene.explain.asked import Asked
from scan2gene.explain.choose import CHOSEN_COLUMNS
from scan2gene.explain.features import layer_of
from scan2gene.explain.halves import region, sided_map
from scan2gene.explain.randomise import cascade
from scan2gene.explain.score import hit, rank_correlation
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.nifti import read_nifti, write_nifti
from scan2gene.models.sides import TwoSides
from scan2gene.train.networks import build_network, load_network

MAP_COLUMNS = (
    *CHOSEN_COLUMNS, "method", "role", "image", "mask", "map", "map_on_scan", "energy", "lesion_fraction", "pointing",
    "energy_random", "reason",
)  # fmt: skip
RANDOMISED_COLUMNS = ("run_id", "split", "target", "method", "exam_id", "step", "correlation")
BACKGROUND = 16  # training exams that `gradient_shap` compares with
CHECKED = 4  # exams of a fit and target on which the layers are randomised
LEVELS = 255  # a map on the scan's grid is rounded to so many steps: it then packs well


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
    """

    model: nn.Module
    fresh: nn.Module
    data: CohortTensors
    roles: Sequence[str]
    targets: Sequence[str]
    store: Path
    files: Mapping[tuple[str, str], str]
    scans: Mapping[tuple[str, str], str]
    training: Sequence[int]
    mask: str | None
    layer: str | None
    seed: int


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
        target and method, one on the prepared grid and one on that of the scan.
    """
    shutil.rmtree(folder, ignore_errors=True)
    maps, files = [], []
    for method in methods:
        for row in rows.to_dict("records"):
            made, written = _one(fit, row, method, out, folder)
            maps.append(made)
            files += written
    tables = {
        folder / "maps.csv": pd.DataFrame(maps, columns=list(MAP_COLUMNS)),
        folder / "randomised.csv": _randomised(fit, rows, methods[0]),
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
    role = next(r for r in fit.roles if (exam, r) in fit.files)
    image = fit.store / fit.files[exam, role]
    array = exam_map(fit, fit.model, row, method)
    made = row | {"method": method.name, "role": role, "image": image.relative_to(out)}
    written: list[Path] = []
    lesion = _lesion(fit, exam)
    if lesion is not None:
        made["mask"] = (fit.store / fit.files[exam, str(fit.mask)]).relative_to(out)
        seen = _seen(fit, row, array.shape)
        found = hit(array[seen], lesion[seen])
        if found:
            made |= {"energy": found.energy, "lesion_fraction": found.fraction, "pointing": found.pointing}
            control = hit(exam_map(fit, fit.fresh, row, method)[seen], lesion[seen]) if row["drawn"] else None
            made["energy_random"] = control.energy if control else None
        elif array.any():
            made["reason"] = f"the lesion is not in the prepared field{' of this side' if row['side'] else ''}"
    if not array.any():
        made["reason"] = "the map is empty: nothing in the layer speaks for this class"
    if row["picked"]:
        stem = f"{_slug(exam)}_{_slug(output_name(row['target'], row['side']))}_{method.name}"
        prepared, on_scan = folder / f"{stem}_prepared.nii.gz", folder / f"{stem}.nii.gz"
        volume = Volume(array, read_nifti(image).affine)
        write_nifti(volume, prepared)
        made["map"] = prepared.relative_to(out)
        written.append(prepared)
        try:
            write_nifti(on_grid(volume, read_volume(fit.scans[exam, role])), on_scan)
            made["map_on_scan"] = on_scan.relative_to(out)
            written.append(on_scan)
        except (Scan2GeneError, OSError, KeyError):  # the scans may have moved since they were prepared
            made["reason"] = "the scan could not be opened, so its map is on the prepared grid only"
    return made, written


def exam_map(fit: Fit, model: nn.Module, row: Mapping[str, Any], method: Plugin) -> np.ndarray:
    """Map of one exam, (I, J, K) float32, for the class of `row`."""
    position = int(np.flatnonzero(fit.data.exams["exam_id"].to_numpy() == row["exam_id"])[0])
    device = next(model.parameters()).device
    x, present = _input(fit.data, [position], device)
    background = None
    if method.name == "gradient_shap":
        draw = np.random.default_rng(fit.seed).permutation(len(fit.training))[:BACKGROUND]
        background = _input(fit.data, [fit.training[i] for i in draw], device)[0]
    seed = int(value_hash([fit.seed, row["exam_id"], row["target"]]), 16) % 2**63
    options = dict(method.options)
    if fit.layer and "layer" in options_of(method.name):
        options.setdefault("layer", fit.layer)
    sign = torch.tensor([1.0 if row["class"] == "positive" else -1.0], device=device)
    number = _output(fit, row)
    asked = Asked(model.eval(), x, present, number, sign, (seed,), background)
    if isinstance(model, TwoSides):
        found = sided_map(asked, Plugin(name=method.name, options=options))
    else:
        found = METHODS[method.name](_by_slice(asked) if model.spatial_dims == 2 else asked, **options)
    return found.reshape(x.shape[2:]).float().cpu().numpy().T  # (D, H, W) -> (I, J, K)


def _output(fit: Fit, row: Mapping[str, Any]) -> int:
    return list(fit.targets).index(output_name(row["target"], row["side"]))


def _input(data: CohortTensors, rows: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    chosen = torch.as_tensor(list(rows))
    present = data.present[chosen].to(device)
    return to_input(data.images[chosen.to(data.images.device)].to(device), present), present


def _by_slice(asked: Asked) -> Asked:
    """One exam as a batch of its slices, for a network that sees one slice at a time."""
    slices = asked.x[0].transpose(0, 1)  # (D, C, H, W)
    n = len(slices)
    background = asked.background
    if background is not None:
        background = background.transpose(1, 2).flatten(0, 1)  # (M * D, C, H, W)
    return replace(
        asked,
        x=slices,
        present=asked.present.expand(n, -1),
        sign=asked.sign.expand(n),
        seeds=tuple((asked.seeds[0] + i) % 2**63 for i in range(n)),
        background=background,
    )


def _seen(fit: Fit, row: Mapping[str, Any], shape: tuple[int, ...]) -> np.ndarray:
    """Voxels (I, J, K) that have a say in the answer: a map of one side is held against that side's lesion."""
    if not isinstance(fit.model, TwoSides):
        return np.ones(shape, bool)
    return region(fit.model, shape[::-1], _output(fit, row)).numpy().T


def _lesion(fit: Fit, exam: str) -> np.ndarray | None:
    if fit.mask is None or (exam, fit.mask) not in fit.files:
        return None
    return read_nifti(fit.store / fit.files[exam, fit.mask], "label").array > 0


def _randomised(fit: Fit, rows: pd.DataFrame, method: Plugin) -> pd.DataFrame:
    """Rank correlation of the maps of some picked exams with those of ever more random networks."""
    picked = rows[rows["picked"]].sort_values("kind", kind="stable").groupby("target", sort=False).head(CHECKED)
    cases = picked.to_dict("records")
    before = [exam_map(fit, fit.model, row, method) for row in cases]
    found = []
    for step, broken in cascade(fit.model, fit.fresh) if cases else ():
        for row, original in zip(cases, before, strict=True):
            correlation = rank_correlation(original, exam_map(fit, broken, row, method))
            found.append({**row, "method": method.name, "step": step, "correlation": correlation})
    return pd.DataFrame(found, columns=list(RANDOMISED_COLUMNS))


def on_grid(volume: Volume, scan: Volume) -> Volume:
    """A map on the grid of a scan: linear between voxels, 0 outside the prepared field."""
    import SimpleITK as sitk

    shape = scan.shape
    grid = to_sitk(Volume(np.broadcast_to(np.uint8(0), shape), scan.affine))
    moved = sitk.Resample(to_sitk(volume), grid, sitk.Transform(), sitk.sitkLinear, 0.0)
    array = sitk.GetArrayFromImage(moved).T
    top = float(array.max()) or 1.0
    return Volume((np.rint(array * (LEVELS / top)) * (top / LEVELS)).astype(np.float32), scan.affine)


def _slug(text: str) -> str:
    """A file name that no two ids share."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", text)
    return plain if plain == text else f"{plain}-{value_hash(text)[:6]}"


def load_fit(
    study: Study, run: Run, data: CohortTensors, trained: Path, store: Path, cohort: pd.DataFrame,
    paths: Mapping[str, str], parts: Mapping[str, str], mask: str | None,
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
        mask: Role of the lesion.
    """
    roles = input_roles(study)
    device = "cuda" if torch.cuda.is_available() and study.train.device in ("auto", "cuda") else "cpu"
    model = load_network(study, run, trained).requires_grad_(True)  # also a frozen encoder has gradients to show
    manifest = read_csv(store / "manifest.csv")
    ready = manifest[manifest["status"] == "ok"]
    scans = {
        (exam["exam_id"], role): paths[exam[f"role:{role}"]]
        for exam in cohort.to_dict("records")
        for role in roles
        if exam[f"role:{role}"] in paths
    }
    return Fit(
        model.to(device), _random(model, study.seed).to(device), data, roles, output_names(study), store,
        ready.set_index(["exam_id", "role"])["file"].to_dict(), scans,
        np.flatnonzero(data.exams["patient_id"].map(parts) == "train").tolist(), mask,
        study.explain.layer.get(run.name), study.seed,
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
