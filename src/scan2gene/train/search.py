"""Search over settings inside a fold: trials see the fold's training and validation part only.

The best trial's network becomes the fold's, so what the test part then says is a nested
figure: nothing that chose the settings has seen it. Trials lie in a SQLite file, so a search
goes on where it stopped, and several processes can work on one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import ValidationError

from scan2gene.core.console import say
from scan2gene.core.errors import RunError, Scan2GeneError, StudyError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study import Study, candidate, for_run
from scan2gene.core.study_runs import Range, Run, Search
from scan2gene.core.text import number_text

DATABASE = "search.db"
_BUSY_SECONDS = 60  # that another process may hold the file
_TRIES = 10  # to open a file that several processes begin at once

Data = Callable[[Run, Study], tuple[Any, np.ndarray]]


def search_fold(
    study: Study, run: Run, data: Data, parts: Mapping[str, str], fold: Mapping[str, Any], folder: Path, key: str
) -> None:
    """Do the trials that are left and keep the best one's network as the fold's.

    Args:
        study: As its file says it.
        run: With a search.
        data: What a candidate run learns from, and its labels.
        parts: patient_id -> train, validation, test.
        fold: split, repeat, fold.
        folder: Gets search.db, search.json, `trials/`, and the best trial's files.
        key: Names everything that decides the result. What another configuration left goes.

    Raises:
        RunError: No trial came to an end.
    """
    begin(folder, key)
    run_trials(study, run, data, parts, fold, folder, key)
    trials = finished(run, folder)
    scored = [t for t in trials if t["score"] is not None]
    if not scored:
        raise RunError(f"run {run.name}: none of {len(trials)} trials came to an end: {trials[-1]['reason']}")
    best = (min if _search(run).score == "loss" else max)(scored, key=lambda t: t["score"])
    trial = FitDirectory(folder / "trials" / str(best["trial"]))
    for file in (trial.best, trial.model, trial.history, trial.weights, trial.config):
        if file.exists():
            shutil.copyfile(file, folder / file.path.name)
    chosen = {key: best[key] for key in ("values", "score", "trial")}
    FitDirectory(folder).search.write({**chosen, "by": _search(run).score, "trials": trials})
    for weights in (folder / "trials").glob("*/*.pt"):
        weights.unlink()


def begin(folder: Path, key: str) -> None:
    """Make a fold's folder, without what another configuration left in it."""
    config = FitDirectory(folder).config
    if folder.exists() and config.read({}).get("key") != key:
        shutil.rmtree(folder)
    config.write({"key": key})


def run_trials(
    study: Study, run: Run, data: Data, parts: Mapping[str, str], fold: Mapping[str, Any], folder: Path, key: str
) -> None:
    """Train candidates until as many as the search asks for are finished, whoever finished them."""
    import optuna

    wanted, trials = _search(run), _storage(run, folder)
    while (done := _count(trials)) < wanted.trials:
        # Seeded by the number of finished trials: a search that goes on asks what an unbroken one would have asked.
        trials.sampler = optuna.samplers.TPESampler(seed=(study.seed + 7919 * done + int(fold["fold"])) % 2**32)
        trial = trials.ask()
        values = {name: _suggested(trial, name, choices) for name, choices in wanted.over.items()}
        score, reason = None, ""
        try:
            score = _score(study, run, values, data, parts, fold, folder / "trials" / str(trial.number), key)
        except Scan2GeneError as error:
            reason = str(error)
        trial.set_user_attr("values", values)
        trial.set_user_attr("reason", reason)
        state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
        trials.tell(trial, score, state=state)
        told = reason if score is None else f"validation {wanted.score} {number_text(score)}"
        say("", f"  {run.name} {fold['split']} fold {fold['fold']} trial {done + 1} of {wanted.trials}: {told}")


def _score(
    study: Study, run: Run, values: dict[str, Any], data: Data, parts: Mapping[str, str], fold: Mapping[str, Any],
    folder: Path, key: str,
) -> float:  # fmt: skip
    """Validation score of one candidate's best epoch."""
    from scan2gene.train.fold import train_fold

    one = candidate(run, values)
    view = for_run(study, one)
    tensors, targets = data(one, view)
    train_fold(view, one, tensors, targets, parts, fold, folder, key)
    history = pd.read_csv(FitDirectory(folder).history)
    best = history[history["best"] == 1].iloc[-1]
    score = best["validation_loss" if _search(run).score == "loss" else "validation_auroc"]
    if pd.isna(score):
        raise RunError("validation has one class only, so its AUROC cannot choose; set search.score: loss")
    return float(score)


def finished(run: Run, folder: Path) -> list[dict[str, Any]]:
    """Finished trials of a fold: number, values, score (None when it failed), reason."""
    return [
        {"trial": t.number, "values": t.user_attrs["values"], "score": t.value, "reason": t.user_attrs["reason"]}
        for t in _storage(run, folder).trials
        if t.state.is_finished() and "values" in t.user_attrs
    ]


def chosen_run(run: Run, folder: Path) -> Run:
    """The run as the fold's search chose it; the run itself without a search."""
    if run.search is None:
        return run
    return candidate(run, FitDirectory(folder).search.read()["values"])


def check_search(study: Study, run: Run, check: Callable[[Run], None]) -> None:
    """Refuse keys that do not exist and values that do not fit before any work starts.

    Args:
        study: The study.
        run: With a search.
        check: Refuses a run that cannot be trained.

    Raises:
        StudyError: Naming the key.
    """
    for name, choices in _search(run).over.items():
        for value in [choices.low, choices.high] if isinstance(choices, Range) else choices:
            try:
                one = candidate(run, {name: value})
                for_run(study, one)
                check(one)
            except (StudyError, ValidationError) as error:
                said = str(error) if isinstance(error, StudyError) else str(error.errors()[0]["msg"])
                raise StudyError(f"run {run.name}, search.over {name}, {value!r}: {said}") from None


def _search(run: Run) -> Search:
    if run.search is None:
        raise StudyError(f"run {run.name} has no search")
    return run.search


def _storage(run: Run, folder: Path) -> Any:
    try:
        import optuna
    except ImportError:
        raise StudyError(f"run {run.name} has a search, which needs: pip install 'scan2gene[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder.mkdir(parents=True, exist_ok=True)
    towards = optuna.study.StudyDirection
    direction = towards.MINIMIZE if _search(run).score == "loss" else towards.MAXIMIZE
    for left in reversed(range(_TRIES)):
        try:
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{folder / DATABASE}", engine_kwargs={"connect_args": {"timeout": _BUSY_SECONDS}}
            )
            return optuna.create_study(study_name="trials", storage=storage, direction=direction, load_if_exists=True)
        except Exception as error:  # several kinds: another process is making the same file at this moment
            if not left:
                raise RunError(f"{folder / DATABASE} cannot be opened: {type(error).__name__}: {error}") from None
            time.sleep(0.5)
    raise AssertionError("the loop returns or raises")


def _count(trials: Any) -> int:
    return sum(t.state.is_finished() for t in trials.get_trials(deepcopy=False))


def _suggested(trial: Any, name: str, choices: list[Any] | Range) -> Any:
    if isinstance(choices, list):  # Optuna keeps plain values only; lists and mappings go by their number
        return choices[trial.suggest_categorical(name, list(range(len(choices))))]
    if isinstance(choices.low, int) and isinstance(choices.high, int):
        return trial.suggest_int(name, choices.low, choices.high, log=choices.log)
    return trial.suggest_float(name, float(choices.low), float(choices.high), log=choices.log)
