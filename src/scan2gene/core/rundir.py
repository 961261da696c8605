"""The run directory: every path in it, with readers and writers, and whether a stage's files are still true.

A stage is done when its stamp names the hash of the inputs it was made from and its
outputs still have the size they were written with. Stamps are small JSON files in `stages/`.
`format.json` says in which form the files of the directory are written.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scan2gene import __version__
from scan2gene.core.errors import RunError
from scan2gene.core.run_files import Csv, File, Json, Parquet
from scan2gene.core.study import Study
from scan2gene.core.tables import (
    COMPARISON_COLUMNS,
    CONFUSION_COLUMNS,
    EMBEDDING_COLUMNS,
    EXCLUSION_COLUMNS,
    INNER_COLUMNS,
    LABEL_COLUMNS,
    METRIC_COLUMNS,
    PREDICTION_COLUMNS,
    ROLE_COLUMNS,
    SPLIT_COLUMNS,
    WEIGHT_COLUMNS,
)

FORMAT = 1  # of a run directory; raised when an older one cannot be read or continued: files, columns, keys


@dataclass(frozen=True)
class FitDirectory:
    """What one fit leaves: `experiments/<run>/<split>-r<repeat>-f<fold>/`."""

    path: Path

    best = File("best.pt")
    estimators = File("estimators.skops")
    inner = Parquet("inner.parquet", INNER_COLUMNS)
    last = File("last.pt")
    model = Json("model.json")
    config = Json("config.json")
    weights = Json("weights.json")
    network = Json("network.json")
    harmonise = Json("harmonise.json")
    search = Json("search.json")
    history = Csv("history.csv")
    sampling = Csv("sampling.csv")
    predictions = Parquet("predictions.parquet", PREDICTION_COLUMNS)
    embeddings = Parquet("embeddings.parquet", EMBEDDING_COLUMNS)
    variants = Parquet("variants.parquet", PREDICTION_COLUMNS)
    fusion_weights = Csv("fusion_weights.csv", WEIGHT_COLUMNS)

    @property
    def name(self) -> str:
        """Run and fold: "resnet/cv-r0-f1"."""
        return f"{self.path.parent.name}/{self.path.name}"


@dataclass(frozen=True)
class ExperimentDirectory:
    """What the fits of one run have in common: `experiments/<run>/`."""

    path: Path

    history = Csv("history.csv")
    results = Json("results.json")
    augmentation = File("augmentation.png")
    plots = File("plots")


@dataclass(frozen=True)
class StoreDirectory:
    """The prepared volumes of one recipe: `store/<recipe>/`."""

    path: Path

    manifest = Csv("manifest.csv")
    slices = Csv("slices.csv")

    @property
    def name(self) -> str:
        """Hash of the recipe."""
        return self.path.name


@dataclass(frozen=True)
class MapsDirectory:
    """Maps of one fit, or the tables of all: `explain/`."""

    path: Path

    maps = Csv("maps.csv")
    randomised = Csv("randomised.csv")
    scores = Csv("scores.csv")


@dataclass(frozen=True)
class RunDirectory:
    """A study's run; also what `apply` and `external` write, which have some of its files and a few of their own."""

    path: Path

    format = Json("format.json")
    study_json = Json("study.json")
    study_yaml = File("study.yaml")
    called = Json("called.json")
    leaky = File("LEAKY.txt")

    unfinished_index = File("series.progress")
    unfinished_features = File("features/unfinished.jsonl")
    series = Csv("series.csv")
    cohort = Csv("cohort.csv")
    labels = Csv("labels.csv", LABEL_COLUMNS)
    exclusions = Csv("exclusions.csv", EXCLUSION_COLUMNS)
    roles = Csv("roles.csv", ROLE_COLUMNS)
    boxes = Csv("boxes.csv", ("series_id", "file"))
    box_masks = File("boxes")
    flow = Json("flow.json")
    plan = Json("plan.json")
    costs = Json("costs.json")
    budget = Json("budget.json")
    split = Csv("split.csv", SPLIT_COLUMNS)
    split_table = Csv("split_table.csv")
    power = Csv("power.csv")

    predictions = Parquet("predictions.parquet", PREDICTION_COLUMNS)
    embeddings = Parquet("embeddings.parquet", EMBEDDING_COLUMNS)
    variants = Parquet("variants.parquet", PREDICTION_COLUMNS)
    fusion_weights = Csv("fusion_weights.csv", WEIGHT_COLUMNS)
    scales = Csv("ensembles.csv")
    embedding_map = Csv("embedding_map.csv")
    embedding_agreement = Csv("embedding_agreement.csv")

    metrics = Csv("metrics.csv", METRIC_COLUMNS)
    thresholds = Json("thresholds.json")
    results = Json("results.json")
    comparisons = Csv("comparisons.csv", COMPARISON_COLUMNS)
    confusion = Csv("confusion.csv", CONFUSION_COLUMNS)
    calibration = Csv("calibration.csv")
    decision = Csv("decision.csv")
    predictive_values = Csv("predictive_values.csv")
    abstention = Csv("abstention.csv")
    conformal = Csv("conformal.csv")
    evidence = Csv("evidence.csv")

    audit = Json("audit.json")
    shortcuts = Csv("audit.csv")
    leakage = Csv("leakage.csv")
    verdicts = Json("verdicts.json")
    transfer = Csv("transfer.csv")
    shift = Csv("shift.csv")
    report = File("report.html")

    applied = Json("applied.json")
    predictions_csv = Csv("predictions.csv")
    training_ranges = Json("apply/familiar.json")
    external = Json("external.json")
    scores = Csv("scores.csv")

    def __str__(self) -> str:
        return str(self.path)

    def study(self) -> Study:
        """The study as it ran.

        Raises:
            RunError: This is no run directory, or one of another format.
        """
        if not self.study_json.exists():
            raise RunError(f"{self.path} is no run directory: it holds no study.json. Name one, such as runs/my-study.")
        self.check_format()
        return Study.model_validate(self.study_json.read())

    def check_format(self) -> None:
        """Refuse a run directory that was written in another form; a folder that is none passes.

        Raises:
            RunError: It has no format, or another one than `FORMAT`.
        """
        if not self.study_json.exists() and not self._stamp_file("index").exists():
            return
        try:
            found = self.format.read()["format"]
        except (RunError, ValueError, KeyError, TypeError):  # before 0.2 there was none
            found = "none"
        if found != FORMAT:
            raise RunError(
                f"{self.path} was made by another version of scan2gene (run directory format {found}; this version "
                f"reads {FORMAT}), so nothing in it is used. Repeat the run in a new directory: "
                "scan2gene run STUDY -o NEW."
            )

    def claim(self) -> None:
        """Check the format of a run directory, and write it into a new one."""
        self.check_format()
        if not self.format.exists():
            self.format.write({"format": FORMAT})

    def is_done(self, stage: str, key: str) -> bool:
        """True when `stage` was finished for exactly these inputs and its outputs are whole."""
        stamp = self.stamp(stage)
        return stamp is not None and stamp["key"] == key and not self.damaged(stamp)

    def damaged(self, stamp: dict[str, Any]) -> list[str]:
        """Outputs of a stamp that are missing or no longer have the size they were written with."""
        files = {name: self.path / name for name in stamp["outputs"]}
        return [n for n, f in files.items() if not f.is_file() or f.stat().st_size != stamp["outputs"][n]]

    def stamp(self, stage: str) -> dict[str, Any] | None:
        """The stamp of a stage, or None when it never finished or its stamp is damaged."""
        try:
            stamp = self._stamp_file(stage).read()
        except (RunError, ValueError):
            return None
        return stamp if isinstance(stamp, dict) and isinstance(stamp.get("outputs"), dict) and "key" in stamp else None

    def stamps(self) -> list[dict[str, Any]]:
        """Those of all stages, in the order of their names."""
        return [Json(path).read() for path in sorted(self.path.glob("stages/*.json"))]

    def mark_done(self, stage: str, key: str, outputs: Iterable[Path | File], **extra: Any) -> None:
        """Record that `stage` finished for the inputs behind `key`; `extra` is kept beside it."""
        sizes = {str(p.relative_to(self.path)): p.stat().st_size for p in map(Path, outputs)}
        self._stamp_file(stage).write({"stage": stage, "key": key, "outputs": sizes, "version": __version__} | extra)

    def _stamp_file(self, stage: str) -> Json:
        return Json(self.path / "stages" / f"{stage.replace('/', '__')}.json")

    def exclusive(self, shared: bool = False) -> contextlib.AbstractContextManager[None]:
        """Hold a run directory for this process; the lock goes with the process, however it ends.

        Args:
            shared: Beside others that share it.

        Raises:
            RunError: Another process works in it.
        """
        message = f"another run works in {self.path}. Wait for it, or give another directory with -o."
        return locked(self.path / ".lock", message, shared)

    def exclusive_fit(self, folder: FitDirectory) -> contextlib.AbstractContextManager[None]:
        """Hold one fit.

        Raises:
            RunError: Another process works on it.
        """
        message = f"another process works on {folder.name} in {self.path}. Wait for it, or do another fit."
        folder.path.parent.mkdir(parents=True, exist_ok=True)
        return locked(folder.path.with_name(f".lock-{folder.path.name}"), message)

    def sweep(self) -> None:
        """Delete what a killed run left half-written, for the holder of the directory; a store sees to its own."""
        for folder in (".", "stages", "experiments/*", "experiments/*/*", "store/*/preview"):
            for leftover in self.path.glob(f"{folder}/.tmp-*"):
                leftover.unlink(missing_ok=True)

    def shown(self) -> list[Path]:
        """Files that the report reads."""
        patterns = ("*.csv", "*.json", "*.parquet", "experiments/*/*/history.csv", "store/*/*.csv", "explain/*.csv",
                    "experiments/*/*/weights.json", "experiments/*/*/network.json",
                    "experiments/*/augmentation.png")  # fmt: skip
        return sorted(p for pattern in patterns for p in self.path.glob(pattern))

    def experiment(self, run: str) -> ExperimentDirectory:
        """Of a run."""
        return ExperimentDirectory(self.path / "experiments" / run)

    def fit(self, run: str, split: str, repeat: int, fold: int) -> FitDirectory:
        """Of a run on one fold."""
        return FitDirectory(self.path / "experiments" / run / fold_name(split, repeat, fold))

    def fits(self, run: str, split: str | None = None) -> list[FitDirectory]:
        """Those of a run that are there, on one split or on all."""
        name = re.compile(rf"{'.*' if split is None else re.escape(split)}-r\d+-f\d+")
        return [FitDirectory(p) for p in sorted((self.path / "experiments" / run).glob("*")) if name.fullmatch(p.name)]

    def store(self, recipe: str) -> StoreDirectory:
        """Of a recipe, by its hash."""
        return StoreDirectory(self.path / "store" / recipe)

    def features(self, name: str) -> Parquet:
        """The table of features of a name."""
        return Parquet(self.path / "features" / f"{name}.parquet")

    def altered_features(self, name: str) -> Parquet:
        """The same of altered copies of some tested exams."""
        return Parquet(self.path / "features" / "altered" / f"{name}.parquet")

    def stores(self) -> list[StoreDirectory]:
        """Those that are there."""
        return [StoreDirectory(p) for p in sorted(self.path.glob("store/*")) if p.is_dir()]

    def fingerprints(self, recipe: str) -> Path:
        """Of a store's volumes, by which copies are found."""
        return self.path / "prints" / f"{recipe}.npz"

    def maps(self, fit: str = "") -> MapsDirectory:
        """Of a fit, by its name; without one, the tables of all."""
        return MapsDirectory(self.path / "explain" / fit)


def fold_name(split: str, repeat: int, fold: int) -> str:
    """Folder of a fold: "cv-r0-f1"."""
    return f"{split}-r{repeat}-f{fold}"


@contextlib.contextmanager
def locked(path: Path, message: str, shared: bool = False) -> Iterator[None]:
    """Hold a lock file; the lock goes with the process.

    Args:
        path: Of the file, which is made where it is not.
        message: Of the error where another process holds it.
        shared: Beside others that share it.

    Raises:
        RunError: Another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no advisory locks, and no second run is expected
        yield
        return
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError:
            raise RunError(message) from None
        yield
