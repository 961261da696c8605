"""Quality control by eye: the cohort of a study on one page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.cohorts.roles import contested
from scan2gene.core.console import say
from scan2gene.core.errors import RunError, ScanError
from scan2gene.core.files import write_text
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study
from scan2gene.core.study_file import load_study
from scan2gene.core.text_table import read_text_table
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import fingerprint, read_volume
from scan2gene.imaging.nifti import read_nifti
from scan2gene.preprocess.store import recipe_hash
from scan2gene.privacy.pseudonyms import pseudonymiser
from scan2gene.report.sheet import Exam, Tile, write_sheet
from scan2gene.stages.pipeline import exams_to_look_at
from scan2gene.tasks.run_config import resolved

HIDDEN = "[cohort.pseudonyms]"
ROW = ["patient_id", "series_id", "reason"]


def qc(
    source: Path, page: Path | None = None, prepared: bool = False, out: Path | None = None
) -> tuple[Path, dict[str, int]]:
    """Write the contact sheet of a study's exams.

    Args:
        source: A study file, or the run directory of one.
        page: Where to; default `qc.html` in the run directory, `qc-prepared.html` for prepared volumes.
        prepared: Show what preprocessing made, not the scans.
        out: Run directory of a study file; default `runs/<study name>`.

    Returns:
        The page, and how many volumes have each flag.

    Raises:
        RunError: Nothing was prepared yet, or the scans of a run with pseudonyms cannot be found without its study.
        CohortError: As `curate`.
    """
    if source.is_dir():
        study, out = RunDirectory(source).study(), source
    else:
        study = load_study(source)
        out = out or Path("runs") / study.name
    exams, tiles, excluded, hide, roles = _prepared(study, out) if prepared else _scans(study, out, source)
    warnings = contested(roles)
    for text in warnings:
        say("", f"warning: {text}")
    html, counts = write_sheet(study.name, exams, tiles, excluded, out / "qc", hide, warnings)
    page = page or out / ("qc-prepared.html" if prepared else "qc.html")
    write_text(page, html)
    return page, counts


Sheet = tuple[list[Exam], list[Tile], pd.DataFrame, Callable[[str], str], pd.DataFrame]


def _scans(study: Study, out: Path, source: Path) -> Sheet:
    """Exams as scanned, those that the exclude file sets aside too."""
    if source.is_dir() and study.cohort.pseudonyms:
        raise RunError(
            f"{source} holds pseudonyms and no paths. Name its study file, `scan2gene qc STUDY.yaml --run {source}`, "
            "or look at what was prepared with --prepared."
        )
    found = exams_to_look_at(study, out)
    series = found.series.fillna("").set_index("series_id")
    tiles = []
    for exam in found.curated.cohort.to_dict("records"):
        for role, rule in study.cohort.roles.items():
            identity = exam[f"role:{role}"]
            if isinstance(identity, str):
                path = found.paths[identity]
                read = partial(read_volume, path, rule.kind, rule.threshold)
                # the files behind a row; a scan that went meanwhile has none, and reading it says so
                tiles.append(_tile(exam["exam_id"], role, rule.kind, identity, series, read, partial(_evidence, path)))
    exams = _exams(found.curated.cohort, found.curated.exclusions)
    return exams, tiles, _excluded(study, found.shown_rows), found.hide, found.curated.roles


def _prepared(study: Study, out: Path) -> Sheet:
    """Exams as networks see them."""
    run = RunDirectory(out)
    cohort, series = run.cohort.read(), run.series.read().fillna("").set_index("series_id")
    roles = cohort.set_index("exam_id")
    recipes = {recipe_hash(config.recipe): config.name for config in resolved(study)}
    stores = {run.store(h): name for h, name in recipes.items() if run.store(h).manifest.exists()}
    if not stores:
        raise RunError(f"nothing is prepared in {out} yet. Run `scan2gene preprocess` first, or leave out --prepared.")
    tiles = []
    for store, name in stores.items():
        for row in store.manifest.read().to_dict("records"):
            if row["exam_id"] not in roles.index:
                continue
            identity, kind = roles.loc[row["exam_id"], f"role:{row['role']}"], study.cohort.roles[row["role"]].kind
            ready = row["status"] == "ok"
            read = partial(read_nifti, store.path / row["file"], kind) if ready else partial(_fail, row["reason"])
            evidence = partial(_size, store.path / row["file"]) if ready else partial(str, row["reason"])
            label = row["role"] if len(stores) == 1 else f"{row['role']}, {name}"
            tiles.append(_tile(row["exam_id"], label, kind, identity, series, read, evidence))
    place = {exam: n for n, exam in enumerate(cohort["exam_id"])}
    tiles.sort(key=lambda tile: place[tile.exam_id])
    exams = _exams(cohort, run.exclusions.read())
    # the settings of a run with pseudonyms name neither key nor exclude file, those of its study do
    names = None if study.cohort.pseudonyms == HIDDEN else pseudonymiser(study, out)
    return exams, tiles, _excluded(study, names.rows if names else None), str, run.roles.read()


def _tile(
    exam: str, role: str, kind: str, identity: str, series: pd.DataFrame, read: Callable[[], Volume],
    evidence: Callable[[], Any],
) -> Tile:  # fmt: skip
    row = series.loc[identity]
    told = dict.fromkeys(str(row[c]) for c in ("sequence", "SeriesDescription") if c in row.index and row[c])
    if kind == "label":
        told.pop("other", None)  # a mask is no sequence
    file = "" if row["format"] == "dicom" else Path(row["path"]).name
    return Tile(exam, role, kind, identity, ", ".join(told) or file, str(row.get("burned_in", "")), read, evidence)


def _exams(cohort: pd.DataFrame, exclusions: pd.DataFrame) -> list[Exam]:
    """Exams with every series that could be taken for them: one that is set aside must not be replaced by another."""
    others = exclusions[exclusions["stage"] == "one series per role"].groupby("exam_id")["series_id"].apply(list)
    roles = [c for c in cohort.columns if c.startswith("role:")]
    found = []
    for exam in cohort.to_dict("records"):
        own = [exam[r] for r in roles if isinstance(exam[r], str)]
        found.append(Exam(exam["exam_id"], exam["patient_id"], (*own, *others.get(exam["exam_id"], ()))))
    return found


def _excluded(study: Study, shown: Callable[[pd.DataFrame], pd.DataFrame] | None) -> pd.DataFrame:
    """Rows of the study's exclude file, with pseudonyms where the study asks for them."""
    path = study.cohort.exclude_file
    if path is None or not Path(path).is_file():
        return pd.DataFrame(columns=ROW)
    table = read_text_table(Path(path)).apply(lambda cells: cells.str.strip()).reindex(columns=ROW).fillna("")
    return shown(table) if shown else table


def _evidence(path: str) -> list[Any]:
    try:
        return fingerprint([path])
    except ScanError:
        return [path]


def _size(file: Path) -> list[Any]:
    return [file.name, file.stat().st_size if file.exists() else 0]


def _fail(reason: object) -> Volume:
    raise ScanError(str(reason))


def summary(counts: dict[str, int]) -> str:
    """Flags with their numbers in one line."""
    told: Iterable[str] = (f"{n} {name}" for name, n in counts.items() if n)
    return ", ".join(told) or "no flags"
