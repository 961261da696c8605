"""Harmonisation of tables that runs learn from: fitted on a fold's training rows, kept beside its fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from scan2gene.core.errors import CohortError, StudyError
from scan2gene.core.section import check_plugin, unknown_name
from scan2gene.data.samples import Samples
from scan2gene.learners import learner_of
from scan2gene.learners.clinical import clinical_columns
from scan2gene.learners.combat import UNKNOWN, Combat, fit_combat, harmonised
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig


def _options(
    keep: tuple[str, ...] = (), labels: bool = True, unknown: str = "leave", pool: bool = True
) -> dict[str, Any]:
    """Options of combat, with their defaults."""
    return {"keep": list(keep), "labels": labels, "unknown": unknown, "pool": pool}


def check_harmonise(config: RunConfig) -> None:
    """Refuse a harmonisation that is not known, or of what is no table, before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    plugin = config.data.harmonise
    if plugin is None:
        return
    place = f"run {config.name}: data.harmonise"
    check_plugin(plugin, {"combat": _options}, place)
    options = _options(**plugin.options)
    if options["unknown"] not in UNKNOWN:
        raise StudyError(f"{place}: unknown {unknown_name(str(options['unknown']), UNKNOWN)}")
    for column in options["keep"]:
        if column not in config.clinical:
            raise StudyError(f"{place}: keep {unknown_name(column, config.clinical)} See cohort.clinical.")
    if not config.has_sites:
        raise StudyError(f"{place} takes sites out, so cohort.site_column must name the site's column")
    if learner_of(config).TRAINS_ON_IMAGES:
        raise StudyError(
            f"{place} is for runs that learn from a table: a frozen encoder (weights.freeze: all) or clinical columns. "
            f"{config.model.name} learns from images; give them one scale by preprocessing, such as nyul or zscore"
        )


def fit_harmonise(fit: Fit, data: Samples, train: np.ndarray) -> None:
    """Learn from training rows, and keep it in the fit's folder; nothing where the run asks for none.

    Args:
        fit: Its run says what is kept.
        data: Embeddings, or columns of cohort.csv.
        train: Rows of the training part; no other is looked at.

    Raises:
        CohortError: There are not two sites to harmonise.
    """
    if fit.config.data.harmonise is None:
        return
    try:
        model = _learned(fit.config, data, train)
    except ValueError as error:
        name = f"run {fit.config.name}, {fit.folder.path.name}"
        raise CohortError(f"{name}: {error}. Leave data.harmonise out of this run.") from None
    fit.folder.harmonise.write(model.as_json())


def _learned(config: RunConfig, data: Samples, train: np.ndarray) -> Combat:
    options = _options(**(config.data.harmonise.options if config.data.harmonise else {}))
    values, site, kept = _parts(data, options["keep"])
    labels = data.targets.numpy()[train] if options["labels"] else None
    return fit_combat(values[train], site[train], kept[train], labels, options["pool"])


def is_of_training(fit: Fit, data: Samples) -> bool | None:
    """Whether a fit's harmonisation is what its training rows give, learned anew; None where it has none.

    Args:
        fit: With its parts.
        data: Embeddings, or columns of cohort.csv.
    """
    if not fit.folder.harmonise.exists():
        return None
    kept = Combat.of_json(fit.folder.harmonise.read())
    known = ~np.isnan(data.targets.numpy()).all(axis=1)
    inside = (data.table["patient_id"].map(fit.parts) == "train").to_numpy() & known
    fresh = _learned(fit.config, data, np.flatnonzero(inside))
    pairs = [(getattr(kept, name), getattr(fresh, name)) for name in ("level", "spread", "shift", "scale", "slopes")]
    return kept.sites == fresh.sites and all(np.allclose(a, b, rtol=1e-6, atol=1e-9) for a, b in pairs)


def with_harmonised(fit: Fit, data: Samples) -> Samples:
    """The data with all rows harmonised as the fit's training rows say; as it is where the run asks for none.

    Args:
        fit: Of `fit_harmonise`.
        data: Embeddings, or columns of cohort.csv.
    """
    if fit.config.data.harmonise is None:
        return data
    options = _options(**fit.config.data.harmonise.options)
    model = Combat.of_json(fit.folder.harmonise.read())
    values, site, kept = _parts(data, options["keep"])
    new = harmonised(model, values, site, kept, options["unknown"])
    return replace(data, images=torch.from_numpy(new).to(data.vectors.dtype), _copies={})


def _parts(data: Samples, keep: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values (N, F), sites (N,) and covariates (N, C)."""
    exams, values = data.table, data.vectors.double().numpy()
    nothing = np.full((len(exams), 0), np.nan)
    site = exams["site"].fillna("").astype(str).to_numpy(object) if "site" in exams else np.full(len(exams), "", object)
    lacking = [c for c in keep if f"clinical:{c}" not in exams]
    kept = np.full((len(exams), len(keep)), np.nan) if lacking else clinical_columns(exams, keep) if keep else nothing
    return values, site, kept
