"""An estimator in scikit-learn's manner over the same pipeline that `scan2gene run` drives."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from sklearn.base import BaseEstimator, ClassifierMixin

from scan2gene.cohorts.draft import draft
from scan2gene.commands.apply import apply
from scan2gene.core.errors import CohortError, RunError, StudyError
from scan2gene.core.files import write_text
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import headline
from scan2gene.core.study_file import load_study
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.stages.pipeline import run

PATIENT = "patient_id"
_ID = r"(case\d{6})"
_LABEL = "label"


class ScanClassifier(ClassifierMixin, BaseEstimator):
    """From scans to class probabilities, with everything between them planned from the cohort.

    Fitting trains the planned models, or the one that is named, in an inner cross-validation by patient; predictions
    are the mean over its folds, of the run `best` where models are planned. An outer cross-validation, such as
    scikit-learn's `cross_val_score`, stays by patient where its splitter keeps rows of a patient together
    (`GroupKFold`).

    Args:
        model: A key of `scan2gene.models.MODELS`; default: planned.
        settings: Dotted keys of the study file -> values, such as {"train.epochs": 20}; they go before all else.
        mask: Columns of a table that hold masks, not images.
        seed: Of the inner split, weights and augmentation.
        folder: Where scans, study and run are kept; default: a temporary folder that goes with the estimator.
    """

    def __init__(
        self,
        model: str | None = None,
        settings: Mapping[str, Any] | None = None,
        mask: Sequence[str] = (),
        seed: int = 2026,
        folder: str | Path | None = None,
    ):
        self.model = model
        self.settings = settings
        self.mask = mask
        self.seed = seed
        self.folder = folder

    def fit(self, X: Any, y: Any) -> ScanClassifier:
        """Train.

        Args:
            X: A folder of scans, sorted into patients as `scan2gene new` does it; or a table with a row per exam, a
                column of paths or `Volume`s for each role, and a column patient_id where patients have several exams.
            y: For a folder a label per patient, as a Series by patient id; for a table a label per row. Unknown ones,
                NaN or None, are left out.

        Raises:
            CohortError, ScanError: The scans or labels cannot be used; the message says why.
        """
        self._kept = None if self.folder else tempfile.TemporaryDirectory(prefix="scan2gene-")
        root = Path(self.folder or self._kept.name).resolve()  # type: ignore[union-attr]
        root.mkdir(parents=True, exist_ok=True)
        if (root / "run").exists():
            raise RunError(f"{root} holds an estimator that was fitted before. Give another folder.")
        labels = pd.Series(y).astype(object) if not isinstance(y, pd.Series) else y.astype(object)
        self.classes_ = np.unique(np.array(labels.dropna().tolist()))
        if len(self.classes_) < 2:
            raise CohortError(f"y needs two classes at least; it holds {self.classes_.tolist()}")
        self.names_ = _class_names(self.classes_)
        study = self._of_folder(Path(X), labels, root) if isinstance(X, str | Path) else self._of_table(X, labels, root)
        write_text(root / "study.yaml", yaml.safe_dump(study, sort_keys=False, allow_unicode=True))
        changes = [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in self._changes().items()]
        self.run_dir_ = run(root / "study.yaml", root / "run", until="train", changes=changes)
        self.run_ = headline(RunDirectory(self.run_dir_).study()) or None
        if self.run_:  # what places the members of a mean are their predictions
            run(root / "study.yaml", self.run_dir_, until="predict", changes=changes)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of new exams.

        Args:
            X: As in `fit`; columns that hold masks are left out where no network reads them.

        Returns:
            (n, K) in the order of `classes_`; rows are those of the table, or exams as `exams_` lists them. Exams
            unlike those of training are predicted all the same, with a warning; NaN where one could not be read.
        """
        if not hasattr(self, "run_dir_"):
            raise RunError("fit the estimator first")
        with tempfile.TemporaryDirectory(prefix="scan2gene-") as name:
            root = Path(name).resolve()
            ids: list[str] | None = None
            if isinstance(X, str | Path):
                scans = Path(X)
            else:
                ids = [f"case{n:06d}" for n in range(len(X))]
                scans = root / "scans"
                _write_scans(X[self.roles_], ids, scans)
            applied = apply(self.run_dir_, scans, root / "answers", run=self.run_, force=True)
        rows = applied.predictions[applied.predictions["variant"] == "ensemble"]
        rows = rows[rows["run_id"] == self.run_] if self.run_ else rows
        forced = rows[rows["reason"].fillna("").str.startswith("forced")]
        if len(forced):
            count = forced["exam_id"].nunique()
            warnings.warn(f"{count} exams are unlike those of training: {forced['reason'].iloc[0]}", stacklevel=2)
        table = rows.pivot_table(index=["patient_id", "exam_id"], columns="label", values="prob", dropna=False)
        table = table.dropna(how="all")
        if ids is not None:
            table = table.droplevel("exam_id").reindex(ids)
        self.exams_ = table.index.to_list()
        if len(self.classes_) == 2:
            positive = table["positive"].to_numpy(float)
            return np.c_[1 - positive, positive]
        return table[list(self.names_)].to_numpy(float)

    def predict(self, X: Any) -> np.ndarray:
        """The class of the largest probability of each exam."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]

    def report(self) -> Path:
        """Audit, maps and report of the inner cross-validation; the report's path."""
        root = self.run_dir_.parent
        changes = [f"{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in self._changes().items()]
        return run(root / "study.yaml", self.run_dir_, changes=changes) / "report.html"

    def _changes(self) -> dict[str, Any]:
        own = {} if self.model is None else {"runs": [{"name": "network", "model": {"name": self.model}}]}
        return {"seed": self.seed, **own, **(self.settings or {})}

    def _target(self) -> dict[str, Any]:
        if len(self.classes_) == 2:
            negative, positive = map(str, self.classes_)
            return {"column": _LABEL, "positive": [positive], "negative": [negative]}
        cells = zip(self.names_, map(str, self.classes_), strict=True)
        return {"column": _LABEL, "classes": {name: [cell] for name, cell in cells}}

    def _of_folder(self, scans: Path, labels: pd.Series, root: Path) -> dict[str, Any]:
        table = pd.DataFrame({PATIENT: labels.index.astype(str), _LABEL: [_cell(v) for v in labels]})
        table.to_csv(root / "labels.csv", index=False)
        write_text(root / "draft.yaml", draft(scans.resolve(), root / "labels.csv", root / "draft.yaml", [_LABEL])[0])
        study = load_study(root / "draft.yaml").model_dump(mode="json", exclude_unset=True)
        self.roles_ = [n for n, r in study["cohort"]["roles"].items() if r.get("kind", "intensity") == "intensity"]
        return study | {"targets": {_LABEL: self._target()}}

    def _of_table(self, table: pd.DataFrame, labels: pd.Series, root: Path) -> dict[str, Any]:
        if len(table) != len(labels):
            raise CohortError(f"the table has {len(table)} rows and y {len(labels)} labels")
        columns = [c for c in table.columns if c != PATIENT]
        strange = [m for m in self.mask if m not in columns]
        if strange or not set(columns) - set(self.mask):
            raise StudyError(f"mask names {strange or 'every column'}; the table has {columns}")
        patients = table[PATIENT].astype(str).tolist() if PATIENT in table else list(range(len(table)))
        number = {patient: f"case{n:06d}" for n, patient in enumerate(dict.fromkeys(patients))}
        ids = [number[p] for p in patients]
        _write_scans(table[columns], ids, root / "scans")
        pairs = pd.DataFrame({PATIENT: ids, _LABEL: [_cell(v) for v in labels]}).drop_duplicates()
        pairs.to_csv(root / "labels.csv", index=False)
        self.roles_ = columns
        roles = {
            c: {"match": {"path": rf"role-{n}\.nii"}, "kind": "label" if c in self.mask else "intensity"}
            for n, c in enumerate(columns)
        }
        cohort = {"scans": ["scans"], "labels": "labels.csv", PATIENT.replace("_id", "_column"): PATIENT,
                  "patient_pattern": _ID, "roles": roles}  # fmt: skip
        return {"name": "scan-classifier", "cohort": cohort, "targets": {_LABEL: self._target()}}


def _cell(value: Any) -> str:
    return "" if value is None or value != value else str(value)


def _class_names(classes: np.ndarray) -> list[str]:
    """Names that a study file takes: the classes themselves where they can be names."""
    names = [re.sub(r"[^A-Za-z0-9_-]+", "_", str(c)).strip("_-") for c in classes]
    usable = len(set(names)) == len(names) and all(names) and not {"positive", "negative", "unknown"} & set(names)
    return names if usable else [f"class_{n}" for n in range(len(names))]


def _write_scans(table: pd.DataFrame, ids: Sequence[str], folder: Path) -> None:
    """Each exam's volumes as NIfTI: scans/<patient>/exam-<row>/role-<number>.nii."""
    import nibabel as nib

    for row, (patient, cells) in enumerate(zip(ids, table.itertuples(index=False, name=None), strict=True)):
        place = folder / patient / f"exam-{row:06d}"
        place.mkdir(parents=True, exist_ok=True)
        for number, cell in enumerate(cells):
            if cell is None or (isinstance(cell, float) and cell != cell):
                continue  # the exam lacks this role
            volume = cell if isinstance(cell, Volume) else read_volume(cell)
            nib.save(nib.Nifti1Image(np.asarray(volume.array), volume.affine), place / f"role-{number}.nii")
