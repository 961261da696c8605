"""A finished run as the start of another: what it was trained on, and whom it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scan2gene.core.errors import CohortError, RunError, WeightsError
from scan2gene.core.rundir import FitDirectory, RunDirectory
from scan2gene.core.section import unknown_name
from scan2gene.core.study import Study, channels, for_run
from scan2gene.core.study_runs import Run, Weights
from scan2gene.core.tables import EXTERNAL
from scan2gene.core.text import counted
from scan2gene.privacy.pseudonyms import Pseudonymiser
from scan2gene.tasks.outputs import target_of
from scan2gene.train.search import chosen_run


@dataclass(frozen=True)
class SourceRun:
    """One fit of an earlier study.

    Args:
        out: Its run directory.
        study: Of the run, its overrides applied.
        run: The run, as a search chose it.
        folder: Of the fit.
        config: What the fit says of itself: split, repeat, fold, model, and as targets its outputs.
        options: Of its network: geometry and the like.
    """

    out: Path
    study: Study
    run: Run
    folder: Path
    config: dict[str, Any]
    options: dict[str, Any]

    @property
    def targets(self) -> list[str]:
        """What its network was trained to tell, in order; one output each."""
        return list(dict.fromkeys(map(target_of, self.config["targets"])))

    @property
    def sided(self) -> bool:
        """True when its network sees the sides of an exam apart, and its tensors' names begin so."""
        return self.targets != self.config["targets"]

    @property
    def checkpoint(self) -> Path:
        """Weights of its best epoch."""
        return FitDirectory(self.folder).best.path


def open_source(weights: Weights) -> SourceRun:
    """The fit that `weights: {run: ...}` means.

    Raises:
        WeightsError: No run directory, no such run, several fits and none named, or not finished.
    """
    out = Path(weights.run or "")
    try:
        study = RunDirectory(out).study()
    except RunError as error:
        raise WeightsError(f"weights.run: {error}") from None
    runs = {r.name: r for r in study.runs}
    name = weights.name or (next(iter(runs)) if len(runs) == 1 else "")
    if name not in runs:
        raise WeightsError(f"weights.run: name the run of {out} with name:. {unknown_name(name, runs)}")
    folds = {fit.path.name: fit for fit in RunDirectory(out).fits(name) if fit.best.exists()}
    fold = weights.fold or (next(iter(folds)) if len(folds) == 1 else "")
    if not folds:
        raise WeightsError(f"weights.run: run {name} of {out} has no finished network")
    if fold not in folds:
        raise WeightsError(
            f"weights.run: run {name} has {len(folds)} fits; choose one with fold:, out of {list(folds)}"
        )
    fit = folds[fold]
    if fit.last.exists():
        raise WeightsError(f"weights.run: {name}/{fold} of {out} is not finished; let its study end first")
    config, started = fit.config.read(), fit.weights.read({})
    if started.get("freeze") == "all":
        raise WeightsError(
            f"weights.run: {name} of {out} is a head on a frozen encoder, {started['weights']}; start from that instead"
        )
    run = chosen_run(runs[name], fit.path)
    options = {**run.model.options, **started.get("options", {})}
    return SourceRun(out, for_run(study, run), run, fit.path, config, options)


def check_same_input(source: SourceRun, view: Study, run: Run) -> None:
    """Refuse a source of another architecture or with other channels.

    Raises:
        WeightsError: Saying what differs.
    """
    if source.run.model.name != run.model.name:
        raise WeightsError(
            f"run {run.name}: {source.run.name} of {source.out} is a {source.run.model.name}, and this run's model is "
            f"{run.model.name}"
        )
    theirs, ours = channels(source.study), channels(view)
    if len(theirs) != len(ours):
        raise WeightsError(
            f"run {run.name}: {source.out} was trained on {counted(len(theirs), 'channel')}, {theirs}, and this run "
            f"has {len(ours)}, {ours}. data.roles says which roles a run sees."
        )
    if theirs != ours and sorted(theirs) == sorted(ours):
        raise WeightsError(f"run {run.name}: {source.out} had its channels in another order; set data.roles: {theirs}")


def forbid_seen(
    source: SourceRun, other_patients: bool, parts: Mapping[str, str], run: str, veil: Pseudonymiser | None
) -> list[str]:
    """Refuse to test on patients that the source's weights were trained or chosen on.

    Args:
        source: Where the weights come from.
        other_patients: The study says that equal ids are other people.
        parts: patient_id -> train, validation, test, of the new fold.
        run: Its name.
        veil: Of a study with pseudonyms.

    Returns:
        What is worth a warning.

    Raises:
        CohortError: With the number of such patients.
    """
    if other_patients:
        return []
    notes = []
    seen, doubt = seen_patients(source)
    ours = veil.ids["patient_id"] if veil else {}
    if veil and source.study.cohort.pseudonyms is None:
        seen = {ours[p] for p in seen if p in ours}  # true ids there, pseudonyms here
    elif bool(veil) != (source.study.cohort.pseudonyms is not None):
        doubt = doubt or "that run shows pseudonyms, this study ids"
    tested = [p for p, part in parts.items() if part in ("test", EXTERNAL) and p in seen]
    if tested:
        total = sum(part in ("test", EXTERNAL) for part in parts.values())
        raise CohortError(
            f"run {run}: {len(tested)} of {total} test patients were seen by the network that it starts from "
            f"({source.run.name} of {source.out.name}), so its figures would be too good. Test on others, or set "
            "weights.other_patients: true if equal ids are other people there."
        )
    chosen = sum(part == "validation" and p in seen for p, part in parts.items())
    if chosen:
        notes.append(
            f"{run}: {chosen} validation patients were seen by the network it starts from; thresholds may suffer"
        )
    if not doubt and veil and source.study.cohort.pseudonyms is not None and not seen & set(parts):
        doubt = "both studies show pseudonyms, which agree only under one key file"
    if doubt:
        notes.append(f"{run}: whether its start saw patients that are tested here cannot be known: {doubt}")
    return notes


def seen_patients(source: SourceRun) -> tuple[set[str], str]:
    """Ids of the training and validation patients of a fit and of all that it started from, and what is in doubt."""
    seen: set[str] = set()
    doubt = ""
    visited: set[Path] = set()
    while source.folder not in visited:
        visited.add(source.folder)
        seen |= _seen_by(source)
        before = source.run.weights
        if before is None or not before.run:
            break
        try:
            source = open_source(before)
        except WeightsError:
            doubt = f"{source.run.name} itself started from a run that is no longer at hand"
            break
    return seen, doubt


def _seen_by(source: SourceRun) -> set[str]:
    run = RunDirectory(source.out)
    if not run.split.exists():  # then anybody of the cohort may have been
        return set(run.cohort.read()["patient_id"])
    split = run.split.read()
    fold = (split["split"] == source.config["split"]) & (split["repeat"] == source.config["repeat"])
    fold &= (split["fold"] == source.config["fold"]) & ~split["part"].isin(["test", EXTERNAL])
    return set(split.loc[fold, "patient_id"])
