"""The best and the worst of a network's test patients, as it saw them. No id is shown."""

from __future__ import annotations

from typing import Any

import pandas as pd
from markupsafe import Markup

from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.rundir import StoreDirectory
from scan2gene.core.study_runs import Run
from scan2gene.core.text import number_text
from scan2gene.core.volume import Volume
from scan2gene.imaging.nifti import read_nifti
from scan2gene.imaging.picture import data_uri, three_slices
from scan2gene.report import svg
from scan2gene.report.inputs import Inputs, baseline_columns
from scan2gene.report.panels import decided
from scan2gene.tasks.run_config import resolve

EACH = 2  # cases of a kind
STRIP_BYTES = 9_000
PAGE_BYTES = 2_000_000  # of these figures on the page; the others lie beside it
# name, truth, decision, whether the highest probability comes first
KINDS = (
    ("found", 1, 1, True),
    ("left alone", 0, 0, False),
    ("missed", 1, 0, False),
    ("false alarm", 0, 1, True),
)
COLUMNS = ("run", "split", "fold", "target", "case", "kind", "y_true", "prob", "threshold")


def cases(inputs: Inputs) -> list[dict[str, Any]]:
    """A figure for each network and target of the first split: surest right decisions, and worst errors."""
    table = decided(inputs)
    split = inputs.study.splits[0].name
    table = table[(table["split"] == split) & (table["repeat"] == table["repeat"].min())]
    found: list[dict[str, Any]] = []
    room = PAGE_BYTES
    for run in inputs.study.runs:
        if baseline_columns(run) or run.name not in inputs.stores:
            continue
        volumes = _Volumes(inputs, run)
        for target in inputs.questions:
            chosen = _chosen(table[(table["run_id"] == run.name) & (table["target"] == target)])
            if chosen:
                place = {"run": run.name, "split": split, "target": target}
                pictures = [volumes.picture(row["patient_id"]) for row in chosen]
                rows = [place | {k: row[k] for k in COLUMNS if k in row} for row in chosen]
                drawn = _drawn(place, rows, pictures)
                room -= len(drawn)
                found.append(place | {"rows": rows, "svg": drawn, "shown": room >= 0})
    return found


def _chosen(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for kind, truth, decision, highest in KINDS:
        of_kind = table[(table["y_true"] == truth) & (table["decision"] == decision)]
        first = of_kind.sort_values(["prob", "patient_id"], ascending=[not highest, True]).head(EACH)
        rows += [row | {"kind": kind, "case": len(rows) + n} for n, row in enumerate(first.to_dict("records"), 1)]
    return rows


class _Volumes:
    """What a network saw of a patient: the first of its roles that was prepared, and a mask on its grid."""

    def __init__(self, inputs: Inputs, run: Run) -> None:
        self._store = inputs.stores[run.name]
        manifest = StoreDirectory(self._store).manifest.read()
        ready = manifest[manifest["status"] == "ok"]
        self._files = {(exam, role): file for exam, role, file in ready[["exam_id", "role", "file"]].to_numpy()}
        self._exams = inputs.cohort.groupby("patient_id", sort=False)["exam_id"].agg(list).to_dict()
        self._roles = resolve(inputs.study, run).roles
        self._masks = [n for n, role in inputs.study.cohort.roles.items() if role.kind == "label"]

    def picture(self, patient: str) -> tuple[bytes, int, int] | None:
        """Of the patient's first exam with a prepared volume; None when there is none that can be read."""
        for exam in self._exams.get(patient, ()):
            volume = self._first(exam, self._roles)
            if volume is not None:
                mask = self._first(exam, self._masks)
                return three_slices(
                    volume, mask if mask is not None and mask.shape == volume.shape else None, STRIP_BYTES
                )
        return None

    def _first(self, exam: str, roles: list[str]) -> Volume | None:
        for role in roles:
            if (exam, role) in self._files:
                try:
                    return read_nifti(self._store / self._files[exam, role])
                except (Scan2GeneError, OSError):
                    continue
        return None


def _drawn(place: dict[str, str], rows: list[dict[str, Any]], pictures: list[tuple[bytes, int, int] | None]) -> Markup:
    """Two columns of strips, each under its figures; a heading where the kind changes."""
    width = max([240, *(p[1] for p in pictures if p)])
    body: list[str] = []
    y, kind, column, tallest = 0.0, "", 0, 0
    for row, shown in zip(rows, pictures, strict=True):
        if row["kind"] != kind or column == EACH:
            y += tallest + (22 if tallest else 0)
            kind, column, tallest = row["kind"], 0, 0
            body.append(svg.text(0, y + 15, _heading(row), weight=600))
            y += 22
        x = column * (width + 24)
        body.append(svg.text(x, y + 13, _figures(row), size=12))
        if shown is None:
            body.append(svg.text(x, y + 34, "no picture: no prepared volume could be read", fill=svg.GREY, size=12))
        else:
            uri = data_uri(shown[0], "jpeg")
            body.append(f'<image href="{uri}" x="{x}" y="{y + 20:.0f}" width="{shown[1]}" height="{shown[2]}"/>')
        tallest, column = max(tallest, 20 + (shown[2] if shown else 20)), column + 1
    title = f"Best and worst test patients of {place['run']}, {place['target']}, split {place['split']}"
    told = "; ".join(f"{_heading(row)}: {_figures(row)}" for row in rows)
    return svg.svg(EACH * width + 24 * (EACH - 1), y + tallest + 6, title, told, body)


def _heading(row: dict[str, Any]) -> str:
    truth = "positive" if row["y_true"] == 1 else "negative"
    said = {
        "found": "surest right",
        "left alone": "surest right",
        "missed": "worst error",
        "false alarm": "worst error",
    }
    return f"{said[row['kind']]}: {truth}, {row['kind']}"


def _figures(row: dict[str, Any]) -> str:
    numbers = f"probability {number_text(row['prob'])}, threshold {number_text(row['threshold'])}"
    return f"case {row['case']}: {numbers}, fold {int(row['fold']) + 1}"
