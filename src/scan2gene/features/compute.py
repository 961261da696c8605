"""Features of a cohort: each exam is read and prepared once, for all tables that want the same steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scan2gene.core.console import track
from scan2gene.core.errors import RunError, Scan2GeneError, ScanError
from scan2gene.core.files import value_hash
from scan2gene.core.machine import cpus
from scan2gene.core.section import Plugin, check_plugin, options_of, version_of
from scan2gene.core.study_cohort import Role
from scan2gene.core.study_features import Features
from scan2gene.core.volume import Volume
from scan2gene.features import KINDS
from scan2gene.features.exam import Exam
from scan2gene.imaging.index import fingerprint
from scan2gene.preprocess.recipe import apply_recipe, check_recipe, recipe_hash
from scan2gene.preprocess.store import read_roles

VERSION = 2
NOMINAL = "nominal_spacing"  # the step that puts a slice distance in place of one that is not real
Alter = Callable[[Exam, str], Exam]  # an exam and its id -> an altered copy


@dataclass(frozen=True)
class Wanted:
    """One table of features.

    Args:
        name: Of the table.
        block: How the study file has it, with a `name` of `KINDS`.
        roles: What is read of each exam.
        alter: Gives the copy that is measured in place of each exam; None: the exam as it is.
        altered: What tells one such copy from another.
    """

    name: str
    block: Features
    roles: Mapping[str, Role]
    alter: Alter | None = None
    altered: str = ""

    @property
    def key(self) -> str:
        """Hash of everything that decides the numbers of an exam, but for its scans."""
        kind = KINDS[self.block.name]
        kinds = {n: (r.kind, r.threshold) for n, r in self.roles.items()}
        parts = [VERSION, self.block.name, version_of(kind), self.block.options, self.recipe, kinds]
        return value_hash([*parts, self.altered] if self.altered else parts)

    @property
    def recipe(self) -> str:
        """Hash of the steps that prepare an exam."""
        return recipe_hash(self.block.preprocess)


def check_features(name: str, block: Features, roles: Mapping[str, Role]) -> None:
    """Refuse features that are not known, their options and steps, before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    if not block.table:
        check_plugin(Plugin(name=block.name, options=block.options), KINDS, f"features.{name}")
        check_recipe(block.preprocess, roles)


def compute(
    wanted: Sequence[Wanted], exams: pd.DataFrame, paths: Mapping[str, str], unfinished: Path,
    hide: Callable[[str], str] = str,
) -> dict[str, pd.DataFrame]:  # fmt: skip
    """Tables of features of every exam; an exam is done once, also when a run is stopped and begun again.

    Args:
        wanted: The tables.
        exams: Rows of cohort.csv.
        paths: series_id -> what `read_volume` opens.
        unfinished: File that keeps what is done; whoever keeps the tables deletes it.
        hide: Takes out of a reason what the study does not show.

    Returns:
        Name -> patient_id, exam_id, status, reason and the numbers.
    """
    done = _read_unfinished(unfinished)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[dict[str, Any]]] = {want.name: [] for want in wanted}
    pool = ThreadPoolExecutor(cpus())
    records = exams.to_dict("records")
    try:
        with unfinished.open("a", encoding="utf-8") as stream:
            if stream.tell():
                stream.write("\n")  # after a line that was cut off, the next must not go on in it
            work = partial(_of_exam, wanted, paths, done)
            for exam, made in zip(records, track(pool.map(work, records), "features", len(records)), strict=True):
                for want, (key, values, reason) in zip(wanted, made, strict=True):
                    if key not in done:
                        stream.write(json.dumps([key, values, reason]) + "\n")
                        stream.flush()
                    ids = {"patient_id": exam["patient_id"], "exam_id": exam["exam_id"]}
                    rows[want.name].append(
                        ids | {"status": "failed" if reason else "ok", "reason": hide(reason)} | values
                    )
    finally:
        pool.shutdown(cancel_futures=True)
    return {name: _table(of_exams) for name, of_exams in rows.items()}


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    numbers = table.iloc[:, 4:].astype(float).replace([np.inf, -np.inf], np.nan)
    return pd.concat([table.iloc[:, :4], numbers], axis=1)


def _read_unfinished(path: Path) -> dict[str, tuple[dict[str, float], str]]:
    """Key -> numbers and reason; a line that was cut off is done again."""
    done = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            key, values, reason = json.loads(line)
        except ValueError:
            continue
        done[key] = (values, reason)
    return done


def _of_exam(
    wanted: Sequence[Wanted], paths: Mapping[str, str], done: Mapping[str, tuple[dict[str, float], str]],
    exam: Mapping[str, Any],
) -> list[tuple[str, dict[str, float], str]]:  # fmt: skip
    """Key, numbers and reason of each table; the reason is empty where the numbers are there."""
    prepared: dict[str, Exam | str] = {}
    copies: dict[tuple[str, str], Exam | str] = {}
    made: list[tuple[str, dict[str, float], str]] = []
    for want in wanted:
        sources = sources_of(exam, want.roles, paths)
        try:
            key = value_hash([want.key, [(r, fingerprint([p])) for r, p in sources.items()]])
        except Scan2GeneError as error:
            made.append((f"{want.name} {exam['exam_id']}", {}, str(error)))
            continue
        if key in done:
            made.append((key, *done[key]))
            continue
        recipe = want.recipe + value_hash(sorted(sources))
        if recipe not in prepared:
            prepared[recipe] = _attempt(lambda s=sources, w=want: read_exam(s, w.roles, w.block.preprocess))  # type: ignore[misc]
        ready = prepared[recipe]
        if want.alter and not isinstance(ready, str):
            if (recipe, want.altered) not in copies:  # one is in memory at a time
                alter = partial(want.alter, ready, str(exam["exam_id"]))
                copies = {(recipe, want.altered): _attempt(alter)}
            ready = copies[recipe, want.altered]
        values = ready if isinstance(ready, str) else _attempt(lambda w=want, e=ready: numbers_of(w, e))  # type: ignore[misc]
        made.append((key, {}, values) if isinstance(values, str) else (key, values, ""))
    return made


def _attempt(work: Callable[[], Any]) -> Any:
    """What it gives, or why not: one bad exam never stops a cohort."""
    try:
        return work()
    except RunError:  # no fault of this exam, and no other would fare better
        raise
    except Exception as error:
        return str(error) if isinstance(error, Scan2GeneError) else f"{type(error).__name__}: {error}"


def sources_of(exam: Mapping[str, Any], roles: Mapping[str, Role], paths: Mapping[str, str]) -> dict[str, str]:
    """Role -> path, of the roles that an exam has."""
    return {r: paths[exam[f"role:{r}"]] for r in roles if isinstance(exam.get(f"role:{r}"), str)}


def read_exam(sources: Mapping[str, str], roles: Mapping[str, Role], recipe: Sequence[Plugin]) -> Exam:
    """An exam's volumes after the steps, on one grid.

    Raises:
        Scan2GeneError: A role that is not optional cannot be read or prepared, or grids differ.
    """
    optional, lost = [r for r in sources if roles[r].optional], dict[str, str]()
    volumes = apply_recipe(read_roles(sources, roles, lost), recipe, optional, lost)
    images = {r: v.with_array(v.array.astype(np.float32)) for r, v in volumes.items() if v.kind == "intensity"}
    masks = {r: v for r, v in volumes.items() if v.kind == "label"}
    if not images:
        raise ScanError("no image is left")
    _one_grid({**images, **masks})
    return Exam(images, masks, all(step.name != NOMINAL for step in recipe))


def _one_grid(volumes: Mapping[str, Volume]) -> None:
    first, *others = volumes
    for role in others:
        apart = np.abs((volumes[role].affine - volumes[first].affine) @ [*volumes[first].shape, 1])
        if volumes[role].shape != volumes[first].shape or apart.max() > min(volumes[first].spacing_mm) / 2:
            raise ScanError(f"{role} and {first} have different grids; put the step match_grid before the features")


def numbers_of(want: Wanted, exam: Exam) -> dict[str, float]:
    """The features of a prepared exam; the same names whichever of the study's roles it lacks.

    Raises:
        ScanError: None of them can be computed, as of an empty mask.
    """
    kind, options = KINDS[want.block.name], dict(want.block.options)
    if "roles" in options_of(kind) and not options.get("roles"):
        options["roles"] = [role for role, block in want.roles.items() if block.kind == "intensity"]
    values = {name: float(value) for name, value in kind(exam, **options).items()}
    if not np.isfinite(list(values.values())).any():
        empty = [role for role, mask in exam.masks.items() if not (mask.array > 0).any()]
        raise ScanError(f"no feature can be computed{f': {empty[0]} is empty' if empty else ''}")
    return values
