"""One fit: a run on one fold, with its files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scan2gene.core.rundir import FitDirectory
from scan2gene.core.study_runs import Split
from scan2gene.tasks.run_config import RunConfig


@dataclass(frozen=True)
class Fit:
    """One run on one fold.

    Args:
        config: Of the run; with a search, before it chose.
        split: Name of the split.
        repeat: From 0.
        fold: From 0.
        folder: Its files.
        parts: patient_id -> train, validation, test or external.
        key: Hash of everything that decides the result.
    """

    config: RunConfig
    split: str
    repeat: int
    fold: int
    folder: FitDirectory
    parts: Mapping[str, str] = field(default_factory=dict)
    key: str = ""

    @property
    def place(self) -> dict[str, Any]:
        """Split, repeat and fold, as columns of tables name them."""
        return {"split": self.split, "repeat": self.repeat, "fold": self.fold}

    @property
    def rules(self) -> Split:
        """How the split divides patients."""
        return next(split for split in self.config.splits if split.name == self.split)

    @property
    def title(self) -> str:
        """Run and fold in words."""
        return f"{self.config.name} {self.split} fold {self.fold}"

    @property
    def stage(self) -> str:
        """Name of its training among the stamps."""
        return f"train/{self.folder.name}"

    @property
    def seed(self) -> int:
        """Of its first weights, the order of exams, and what augmentation does to them."""
        return self.config.seed * 31 + self.repeat * 101 + self.fold

    def as_chosen(self) -> Fit:
        """The same with the settings that its search chose; itself where nothing was searched."""
        if self.config.search is None:
            return self
        return replace(self, config=self.config.with_values(self.folder.search.read()["values"]))

    def begin(self, about: Mapping[str, Any]) -> None:
        """Keep the key and other facts in the folder, without what another configuration left in it."""
        if self.folder.config.exists() and self.folder.config.read()["key"] != self.key:
            shutil.rmtree(self.folder.path)
        self.folder.config.write({"key": self.key, **about})
