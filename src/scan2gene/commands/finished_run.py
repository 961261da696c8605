"""A finished run from Python: its study, fits, tables and findings."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pandas as pd

from scan2gene.core.finding import Finding, Status
from scan2gene.core.rundir import FitDirectory, RunDirectory
from scan2gene.core.study import Study

_LEAKS: dict[str, Status] = {"found": "issue", "clean": "passed", "unknown": "not estimable"}
_VERDICTS: dict[str, Status] = {
    "leak": "issue", "shortcut": "issue", "unknown": "not estimable", "chance": "warning", "worse": "warning",
    "unproven": "warning", "better": "passed",
}  # fmt: skip


class Run:
    """A run directory, opened to read.

    Args:
        path: Such as "runs/brca".

    Raises:
        RunError: It is no run directory, or one of another version's format.
    """

    def __init__(self, path: str | Path):
        self.directory = RunDirectory(Path(path))
        self.study: Study = self.directory.study()

    def __repr__(self) -> str:
        return f"Run({str(self.directory)!r}: {', '.join(r.name for r in self.study.runs) or 'nothing trained'})"

    @property
    def fits(self) -> list[FitDirectory]:
        """Folders of all fits, run by run: `.path`, `.name`, `.history.read()`, `.best.path` of the network."""
        return [fit for run in self.study.runs for fit in self.directory.fits(run.name)]

    def predictions(self) -> pd.DataFrame:
        """predictions.parquet: a row per run, fold, exam or slice, side and label.

        Raises:
            RunError: Nothing is predicted yet.
        """
        return self.directory.predictions.read()

    def metrics(self) -> pd.DataFrame:
        """metrics.csv: a row per run, split, variant, target and metric, with a 95 % interval.

        Raises:
            RunError: Nothing is evaluated yet.
        """
        return self.directory.metrics.read()

    @cached_property
    def findings(self) -> list[Finding]:
        """What the audit says: checks for leakage, what looks wrong about training, and the verdict on each target.

        Raises:
            RunError: There was no audit yet.
        """
        audit = self.directory.audit.read()
        checks = audit["leakage"]
        leaks = [Finding(c["check"], _LEAKS[c["status"]], c["told"], c["cases"]) for c in checks]
        verdicts = [
            Finding(f"verdict on {v['target']}, split {v['split']}", _VERDICTS[v["kind"]], v["headline"])
            for v in self.directory.verdicts.read()
        ]
        training = [
            Finding(f"{t['kind']}: {t['run']}, split {t['split']}", "warning", t["sentence"], t["cases"])
            for t in audit.get("training", ())
        ]
        return leaks + training + verdicts
