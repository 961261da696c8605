"""How far a fit has come: kept after every epoch, so that it goes on where it was stopped."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import torch

from scan2gene.core.files import atomic_path
from scan2gene.train.epoch import State


@dataclass
class Progress:
    """Where a fold's training stands; `best_loss` is the least of what is watched, negative where that should rise.

    Without early stopping `best_epoch` is 0 until the last epoch, whose weights are kept.
    """

    epoch: int = 0
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def improved_by(self, score: float) -> bool:
        """Whether the epoch's score is better than all before, and then the best one; lower is better."""
        better = score < self.best_loss or not self.best_epoch
        if better:
            self.best_loss, self.best_epoch = score, self.epoch
        return better


def save(state: State, progress: Progress, better: bool) -> None:
    """Write history.csv and last.pt, and best.pt where the epoch was the best one."""
    folder = state.fit.folder
    if better:
        with atomic_path(folder.best.path) as temporary:
            torch.save(state.evaluated.state_dict(), temporary)
    kept = {
        "model": state.network.state_dict(),
        "average": None if state.average is None else state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "schedule": state.schedule.state_dict(),
        "adversary": None if state.adversary is None else state.adversary.state_dict(),
        "progress": vars(progress),
    }
    folder.history.write(pd.DataFrame(progress.history))
    # Last: a fit goes on after the epoch that last.pt names, so the other files must hold that epoch by then.
    with atomic_path(folder.last.path) as temporary:
        torch.save(kept, temporary)


def resume(state: State) -> Progress:
    """Load the last epoch of a run that was stopped, if there is one."""
    folder = state.fit.folder
    path = folder.last.path
    if not path.exists():
        return Progress()
    try:
        kept = torch.load(path, weights_only=True, map_location="cpu")
        if kept["progress"]["best_epoch"]:
            torch.load(folder.best.path, weights_only=True, map_location="cpu")  # else the best epoch would be lost
    except Exception:  # a damaged file raises many kinds; the fold then starts anew
        return Progress()
    state.network.load_state_dict(kept["model"])
    if state.average is not None:
        state.average.load_state_dict(kept["average"])
    if state.adversary is not None:
        state.adversary.load_state_dict(kept["adversary"])
    state.optimizer.load_state_dict(kept["optimizer"])
    state.schedule.load_state_dict(kept["schedule"])
    return Progress(**kept["progress"])
