"""The contact sheet: every exam of a cohort on one offline page, on which exams can be set aside."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import importlib.resources
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scan2gene.core.console import track
from scan2gene.core.errors import Scan2GeneError
from scan2gene.core.files import value_hash, write_json
from scan2gene.core.text import dimensions
from scan2gene.core.volume import Volume
from scan2gene.imaging.picture import Look, data_uri, look
from scan2gene.report.flags import FLAGS, flag

PAGE_BYTES = 10_000_000  # of all pictures; base64 adds a third, and the page stays below 15 MB
TILE_BYTES = 16_000
REASONS = ("motion", "wrong sequence", "incomplete", "artefact", "other")
VERSION = 2  # of what is kept between two sheets


@dataclass(frozen=True)
class Tile:
    """One volume of an exam, to be looked at.

    Args:
        exam_id: Its exam.
        role: What it is used as.
        kind: "intensity" or "label".
        series_id: As series.csv has it.
        sequence: What the scanner calls it.
        burned_in: "", "possible" or "yes".
        read: Reads it.
        evidence: Gives what changes when the volume does; it names the picture between two sheets.
    """

    exam_id: str
    role: str
    kind: str
    series_id: str
    sequence: str
    burned_in: str
    read: Callable[[], Volume]
    evidence: Callable[[], Any]


@dataclass(frozen=True)
class Exam:
    """One exam of the sheet.

    Args:
        exam_id: As cohort.csv has it.
        patient_id: Its patient.
        series: Ids that an exclude file must hold so that the exam plays no part.
    """

    exam_id: str
    patient_id: str
    series: tuple[str, ...]


def write_sheet(
    title: str,
    exams: Iterable[Exam],
    tiles: list[Tile],
    excluded: pd.DataFrame,
    kept: Path,
    hide: Callable[[str], str],
    warnings: Sequence[str] = (),
) -> tuple[str, dict[str, int]]:
    """The page.

    Args:
        title: Of the page; what is set aside is remembered in the browser under it.
        exams: In the order of the page.
        tiles: Their volumes.
        excluded: Rows of an exclude file: patient_id, series_id, reason.
        kept: Folder in which pictures wait for the next sheet.
        hide: Takes out of a reason what must not be shown.
        warnings: Sentences at the top of the page.

    Returns:
        HTML text without links to anything outside it, and how many volumes have each flag.
    """
    limit = min(TILE_BYTES, PAGE_BYTES // max(len(tiles), 1))
    looks = _looks(tiles, limit, kept, hide)
    table = pd.DataFrame([_facts(tile, seen) for tile, seen in zip(tiles, looks, strict=True)])
    flags = flag(table) if len(table) else []
    shown: dict[str, list[dict[str, Any]]] = {}
    for tile, seen, found in zip(tiles, looks, flags, strict=True):
        shown.setdefault(tile.exam_id, []).append(_shown(tile, seen, found))
    exams = list(exams)
    cards = [_card(exam, shown.get(exam.exam_id, [])) for exam in exams]
    counts = {name: sum(name in found for found in flags) for name in FLAGS}
    return _page(title, cards, counts, excluded_rows(exams, excluded), warnings), counts


def _looks(tiles: list[Tile], limit: int, kept: Path, hide: Callable[[str], str]) -> list[Look | str]:
    """Pictures, or why there is none; made in parallel, as many volumes in memory as there are cores."""

    def work(tile: Tile) -> Look | str:
        path = kept / f"{value_hash([VERSION, tile.evidence(), tile.kind, limit])}.json"
        try:
            return _restored(path)
        except (OSError, ValueError, TypeError, KeyError):
            pass  # not seen yet, or a file that is damaged
        try:
            seen = look(tile.read(), limit)
        except Scan2GeneError as error:
            return hide(str(error))
        except Exception as error:  # one bad volume never stops a sheet
            return f"unreadable ({type(error).__name__})"
        write_json(path, dataclasses.asdict(seen) | {"jpeg": base64.b64encode(seen.jpeg).decode("ascii")})
        return seen

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(track(pool.map(work, tiles), "qc", len(tiles)))


def _restored(path: Path) -> Look:
    values = json.loads(path.read_text(encoding="utf-8"))
    lists = {name: tuple(values[name]) for name in ("shape", "spacing_mm")}
    return Look(**values | lists | {"jpeg": base64.b64decode(values["jpeg"], validate=True)})


def _facts(tile: Tile, seen: Look | str) -> dict[str, Any]:
    facts = {"role": tile.role, "kind": tile.kind, "burned_in": tile.burned_in}
    if isinstance(seen, str):
        return facts | {"reason": seen or "unreadable"}
    names = ("spacing_mm", "shape", "orientation", "high", "at_max", "constant")
    return facts | {"reason": ""} | {name: getattr(seen, name) for name in names}


def _shown(tile: Tile, seen: Look | str, flags: list[str]) -> dict[str, Any]:
    base = {"role": tile.role, "sequence": tile.sequence, "series": tile.series_id, "flags": flags}
    if isinstance(seen, str):
        return base | {"reason": seen}
    return base | {
        "reason": "",
        "picture": data_uri(seen.jpeg, "jpeg"),
        "width": seen.width,
        "height": seen.height,
        "planes": seen.planes,
        "shape": dimensions(seen.shape, times=" × "),
        "spacing": dimensions(seen.spacing_mm, times=" × "),
        "orientation": seen.orientation,
        "range": "" if tile.kind == "label" else f", {seen.low:.4g} to {seen.high:.4g}",
    }


def excluded_rows(exams: Iterable[Exam], excluded: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of an exclude file, each with the numbers of the exams that it sets aside.

    Args:
        exams: In the order of the page.
        excluded: patient_id, series_id, reason.
    """
    of_patient: dict[str, list[int]] = {}
    of_series: dict[str, list[int]] = {}
    for number, exam in enumerate(exams):
        of_patient.setdefault(exam.patient_id, []).append(number)
        for series in exam.series:
            of_series.setdefault(series, []).append(number)
    rows = []
    for row in excluded[["patient_id", "series_id", "reason"]].to_dict("records"):
        hit = [*of_patient.get(row["patient_id"], ()), *of_series.get(row["series_id"], ())]
        rows.append(row | {"exams": sorted(set(hit))})
    return rows


def _card(exam: Exam, tiles: list[dict[str, Any]]) -> dict[str, Any]:
    return {"exam": exam, "tiles": tiles, "flags": [f for f in FLAGS if any(f in tile["flags"] for tile in tiles)]}


def _page(
    title: str,
    cards: list[dict[str, Any]],
    counts: dict[str, int],
    rows: list[dict[str, Any]],
    warnings: Sequence[str],
) -> str:
    import jinja2

    script, template = (_source(name) for name in ("qc.js", "qc.html.j2"))
    data = {
        "title": title,
        "reasons": REASONS,
        "rows": rows,
        "exams": [{"series": c["exam"].series, "flags": c["flags"]} for c in cards],
    }
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        title=title,
        cards=cards,
        counts=counts,
        warnings=warnings,
        meanings=FLAGS,
        reasons=REASONS,
        # "<" would end the block that holds it
        data=json.dumps(data).replace("<", "\\u003c"),
        script=script,
        # the page may run this script and no other
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
    )


def _source(name: str) -> str:
    return importlib.resources.files("scan2gene.report").joinpath(name).read_text(encoding="utf-8")
