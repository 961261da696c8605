"""Search over settings inside a fold: trials see the fold's training and validation part only.

The best trial's network becomes the fold's, so what the test part then says is a nested
figure: nothing that chose the settings has seen it. Trials lie in a SQLite file, so a search
goes on where it stopped, and several processes can work on one.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
from pydantic import ValidationError

from scan2gene.core.console import say
from scan2gene.core.errors import RunError, Scan2GeneError, StudyError
from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study_runs import Range, Search
from scan2gene.core.text import number_text
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.run_config import RunConfig

DATABASE = "search.db"
_BUSY_SECONDS = 60  # that another process may hold the file
_TRIES = 10  # to open a file that several processes begin at once

Train = Callable[[Fit], None]  # fits one candidate, in its folder


def search_fold(fit: Fit, train: Train) -> None:
    """Do the trials that are left and keep the best one's network as the fit's.

    Args:
        fit: Of a run with a search; its folder gets search.db, search.json, `trials/`, and the best trial's files.
        train: Fits a candidate.

    Raises:
        RunError: No trial came to an end.
    """
    run_trials(fit, train)
    trials = finished(fit)
    scored = [t for t in trials if t["score"] is not None]
    if not scored:
        reason = trials[-1]["reason"]
        raise RunError(f"run {fit.config.name}: none of {len(trials)} trials came to an end: {reason}")
    by = _search(fit.config).score
    best = (min if by == "loss" else max)(scored, key=lambda t: t["score"])
    trial, folder = _trial(fit, best["trial"]), fit.folder.path
    for file in (trial.best, trial.model, trial.history, trial.weights, trial.config):
        if file.exists():
            shutil.copyfile(file, folder / file.path.name)
    chosen = {key: best[key] for key in ("values", "score", "trial")}
    fit.folder.search.write({**chosen, "by": by, "trials": trials})
    for weights in (folder / "trials").glob("*/*.pt"):
        weights.unlink()


def run_trials(fit: Fit, train: Train) -> None:
    """Train candidates until as many as the search asks for are finished, whoever finished them."""
    import optuna

    fit.begin({})
    wanted, trials = _search(fit.config), _storage(fit)
    while (done := _count(trials)) < wanted.trials:
        # Seeded by the number of finished trials: a search that goes on asks what an unbroken one would have asked.
        trials.sampler = optuna.samplers.TPESampler(seed=(fit.config.study_seed + 7919 * done + fit.fold) % 2**32)
        trial = trials.ask()
        values = {name: _suggested(trial, name, choices) for name, choices in wanted.over.items()}
        score, reason = None, ""
        try:
            score = _score(fit, trial.number, values, train)
        except Scan2GeneError as error:
            reason = str(error)
        trial.set_user_attr("values", values)
        trial.set_user_attr("reason", reason)
        state = optuna.trial.TrialState.FAIL if score is None else optuna.trial.TrialState.COMPLETE
        trials.tell(trial, score, state=state)
        told = reason if score is None else f"validation {wanted.score} {number_text(score)}"
        say("", f"  {fit.title} trial {done + 1} of {wanted.trials}: {told}")


def _trial(fit: Fit, number: int) -> FitDirectory:
    return FitDirectory(fit.folder.path / "trials" / str(number))


def _score(fit: Fit, number: int, values: dict[str, Any], train: Train) -> float:
    """Validation score of one candidate's best epoch."""
    one = replace(fit, config=fit.config.with_values(values), folder=_trial(fit, number))
    train(one)
    history = pd.read_csv(one.folder.history)
    best = history[history["best"] == 1].iloc[-1]
    score = best["validation_loss" if _search(fit.config).score == "loss" else "validation_auroc"]
    if pd.isna(score):
        raise RunError("validation has one class only, so its AUROC cannot choose; set search.score: loss")
    return float(score)


def finished(fit: Fit) -> list[dict[str, Any]]:
    """Finished trials of a fit: number, values, score (None when it failed), reason."""
    return [
        {"trial": t.number, "values": t.user_attrs["values"], "score": t.value, "reason": t.user_attrs["reason"]}
        for t in _storage(fit).trials
        if t.state.is_finished() and "values" in t.user_attrs
    ]


def check_search(config: RunConfig, check: Callable[[RunConfig], None]) -> None:
    """Refuse keys that do not exist and values that do not fit before any work starts.

    Args:
        config: With a search.
        check: Refuses a run that cannot be trained.

    Raises:
        StudyError: Naming the key.
    """
    for name, choices in _search(config).over.items():
        for value in [choices.low, choices.high] if isinstance(choices, Range) else choices:
            try:
                check(config.with_values({name: value}))
            except (StudyError, ValidationError) as error:
                said = str(error) if isinstance(error, StudyError) else str(error.errors()[0]["msg"])
                raise StudyError(f"run {config.name}, search.over {name}, {value!r}: {said}") from None


def _search(config: RunConfig) -> Search:
    if config.search is None:
        raise StudyError(f"run {config.name} has no search")
    return config.search


def _storage(fit: Fit) -> Any:
    try:
        import optuna
    except ImportError:
        raise StudyError(f"run {fit.config.name} has a search, which needs: pip install 'scan2gene[search]'") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    database = fit.folder.path / DATABASE
    database.parent.mkdir(parents=True, exist_ok=True)
    towards = optuna.study.StudyDirection
    direction = towards.MINIMIZE if _search(fit.config).score == "loss" else towards.MAXIMIZE
    for left in reversed(range(_TRIES)):
        try:
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{database}", engine_kwargs={"connect_args": {"timeout": _BUSY_SECONDS}}
            )
            return optuna.create_study(study_name="trials", storage=storage, direction=direction, load_if_exists=True)
        except Exception as error:  # several kinds: another process is making the same file at this moment
            if not left:
                raise RunError(f"{database} cannot be opened: {type(error).__name__}: {error}") from None
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
