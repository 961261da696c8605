"""A finished run as the start of another: what it was trained on, and whom it has seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scan2gene.core.errors import CohortError, RunError, WeightsError
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.section import unknown_name
from scan2gene.core.study_runs import Weights
from scan2gene.core.tables import EXTERNAL
from scan2gene.core.text import counted
from scan2gene.privacy.pseudonyms import Pseudonymiser
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig, resolve


@dataclass(frozen=True)
class SourceRun:
    """One fit of an earlier study.

    Args:
        out: Its run directory.
        study: Name of the study.
        pseudonyms: Whether its tables show pseudonyms.
        fit: With the settings that a search chose.
        options: Of its network: geometry and the like.
    """

    out: RunDirectory
    study: str
    pseudonyms: bool
    fit: Fit
    options: dict[str, Any]


def open_source(weights: Weights) -> SourceRun:
    """The fit that `weights: {run: ...}` means.

    Raises:
        WeightsError: No run directory, no such run, several fits and none named, or not finished.
    """
    out = RunDirectory(Path(weights.run or ""))
    try:
        study = out.study()
    except RunError as error:
        raise WeightsError(f"weights.run: {error}") from None
    runs = {r.name: r for r in study.runs}
    name = weights.name or (next(iter(runs)) if len(runs) == 1 else "")
    if name not in runs:
        raise WeightsError(f"weights.run: name the run of {out} with name:. {unknown_name(name, runs)}")
    folds = {folder.path.name: folder for folder in out.fits(name) if folder.best.exists()}
    fold = weights.fold or (next(iter(folds)) if len(folds) == 1 else "")
    if not folds:
        raise WeightsError(f"weights.run: run {name} of {out} has no finished network")
    if fold not in folds:
        raise WeightsError(
            f"weights.run: run {name} has {len(folds)} fits; choose one with fold:, out of {list(folds)}"
        )
    folder = folds[fold]
    if folder.last.exists():
        raise WeightsError(f"weights.run: {name}/{fold} of {out} is not finished; let its study end first")
    kept, started = folder.config.read(), folder.weights.read({})
    if started.get("freeze") == "all":
        raise WeightsError(
            f"weights.run: {name} of {out} is a head on a frozen encoder, {started['weights']}; start from that instead"
        )
    fit = Fit(resolve(study, runs[name]), kept["split"], kept["repeat"], kept["fold"], folder).as_chosen()
    options = {**fit.config.model.options, **started.get("options", {})}
    return SourceRun(out, study.name, study.cohort.pseudonyms is not None, fit, options)


def check_same_input(source: SourceRun, config: RunConfig) -> None:
    """Refuse a source of another architecture or with other channels.

    Raises:
        WeightsError: Saying what differs.
    """
    before = source.fit.config
    if before.model.name != config.model.name:
        raise WeightsError(
            f"run {config.name}: {before.name} of {source.out} is a {before.model.name}, and this run's model is "
            f"{config.model.name}"
        )
    theirs, ours = before.channels, config.channels
    if len(theirs) != len(ours):
        raise WeightsError(
            f"run {config.name}: {source.out} was trained on {counted(len(theirs), 'channel')}, {theirs}, and this run "
            f"has {len(ours)}, {ours}. data.roles says which roles a run sees."
        )
    if theirs != ours and sorted(theirs) == sorted(ours):
        raise WeightsError(
            f"run {config.name}: {source.out} had its channels in another order; set data.roles: {theirs}"
        )


def forbid_seen(source: SourceRun, other_patients: bool, fit: Fit, pseudonymiser: Pseudonymiser | None) -> list[str]:
    """Refuse to test on patients that the source's weights were trained or chosen on.

    Args:
        source: Where the weights come from.
        other_patients: The study says that equal ids are other people.
        fit: That is to start from it.
        pseudonymiser: Of a study with pseudonyms.

    Returns:
        What is worth a warning.

    Raises:
        CohortError: With the number of such patients.
    """
    if other_patients:
        return []
    notes = []
    run, parts = fit.config.name, fit.parts
    seen, doubt = seen_patients(source)
    ours = pseudonymiser.ids["patient_id"] if pseudonymiser else {}
    if pseudonymiser and not source.pseudonyms:
        seen = {ours[p] for p in seen if p in ours}  # true ids there, pseudonyms here
    elif bool(pseudonymiser) != source.pseudonyms:
        doubt = doubt or "that run shows pseudonyms, this study ids"
    tested = [p for p, part in parts.items() if part in ("test", EXTERNAL) and p in seen]
    if tested:
        total = sum(part in ("test", EXTERNAL) for part in parts.values())
        raise CohortError(
            f"run {run}: {len(tested)} of {total} test patients were seen by the network that it starts from "
            f"({source.fit.config.name} of {source.out.path.name}), so its figures would be too good. Test on "
            "others, or set weights.other_patients: true if equal ids are other people there."
        )
    chosen = sum(part == "validation" and p in seen for p, part in parts.items())
    if chosen:
        notes.append(
            f"{run}: {chosen} validation patients were seen by the network it starts from; thresholds may suffer"
        )
    if not doubt and pseudonymiser and source.pseudonyms and not seen & set(parts):
        doubt = "both studies show pseudonyms, which agree only under one key file"
    if doubt:
        notes.append(f"{run}: whether its start saw patients that are tested here cannot be known: {doubt}")
    return notes


def seen_patients(source: SourceRun) -> tuple[set[str], str]:
    """Ids of the training and validation patients of a fit and of all that it started from, and what is in doubt."""
    seen: set[str] = set()
    doubt = ""
    visited: set[Path] = set()
    while source.fit.folder.path not in visited:
        visited.add(source.fit.folder.path)
        seen |= _seen_by(source)
        before = source.fit.config.weights
        if before is None or not before.run:
            break
        try:
            source = open_source(before)
        except WeightsError:
            doubt = f"{source.fit.config.name} itself started from a run that is no longer at hand"
            break
    return seen, doubt


def _seen_by(source: SourceRun) -> set[str]:
    if not source.out.split.exists():  # then anybody of the cohort may have been
        return set(source.out.cohort.read()["patient_id"])
    split = source.out.split.read()
    fold = (split[list(source.fit.place)] == list(source.fit.place.values())).all(axis=1)
    return set(split.loc[fold & ~split["part"].isin(["test", EXTERNAL]), "patient_id"])
