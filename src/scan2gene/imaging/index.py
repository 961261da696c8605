"""The series index: every scan under some folders, one row per 3D volume, rejects with a reason."""

from __future__ import annotations

import functools
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pandas as pd

from scan2gene.core.console import track
from scan2gene.core.errors import ScanError
from scan2gene.core.limits import check_plausible
from scan2gene.core.volume import Volume
from scan2gene.imaging import dicom, volume_files
from scan2gene.imaging.frame import Frame
from scan2gene.imaging.frames import SUFFIXES, BlankFileError, read_frames
from scan2gene.imaging.grid import Stack, grid
from scan2gene.imaging.lost import lost_files
from scan2gene.imaging.nifti import label_array
from scan2gene.imaging.progress import Progress
from scan2gene.imaging.rows import (
    SERIES_COLUMNS,
    Row,
    dicom_rows,
    geometry_columns,
    index_row,
    number_births,
    reason_of,
    say_one_uid_per_slice,
    unread_row,
)
from scan2gene.imaging.sequence import TIME_POINT, recognise, without_time_points
from scan2gene.imaging.sources import Source, find
from scan2gene.imaging.stacks import stacks
from scan2gene.imaging.tags import KEYWORDS, Header

VERSION = 1  # of what `read_volume` gives; raised when the same files are read as other voxels or on another grid
_BATCH, _CHUNK = 16, 512  # files a thread takes at once; files between two saves
_THREADS = 4  # waiting for a disk or network share is what they overlap


def index(paths: str | Path | Iterable[str | Path], progress: str | Path | None = None) -> pd.DataFrame:
    """Find every DICOM series and every volume of other formats that are read, zip archives included.

    Args:
        paths: A folder or file, or several.
        progress: A file in which unfinished work is kept; the same call goes on there
            after a kill. It is removed when the index is complete.

    Returns:
        One row per 3D volume, columns `SERIES_COLUMNS`, sorted by path. `status` is "ok"
        or "rejected", then `reason` says why; `note` says what is odd about a volume that is read.
        `read_volume(row.path)` opens that row.

    Raises:
        ScanError: A path does not exist.
    """
    # folders may overlap: a file counts once
    found_at = {Path(s.path).absolute(): s for s in find([paths] if isinstance(paths, str | Path) else paths)}
    sources = list(found_at.values())
    rows: list[Row] = []
    series: dict[str, list[Frame]] = defaultdict(list)
    unread: dict[Source, Row] = {}  # with its row, empty where a blank file may be no scan at all
    with Progress(progress) as saved, ThreadPoolExecutor(_THREADS) as pool:
        bar = iter(track(range(len(sources)), "index", len(sources)))
        for begin in range(0, len(sources), _CHUNK):
            chunk = sources[begin : begin + _CHUNK]
            for source, found in zip(chunk, _read_chunk(chunk, saved, pool), strict=True):
                next(bar)
                if isinstance(found, list):
                    rows += found
                    if not volume_files.is_volume_file(source.path):
                        unread[source] = found[0] if found else {}
                elif found is not None:
                    header, frames = found
                    series[_series_of(source, header)] += frames
        next(bar, None)
        rows += _all_dicom_rows(series, unread)
    _mend_time_points(rows)
    table = pd.DataFrame(rows, columns=list(SERIES_COLUMNS))
    saved.remove()
    return table.sort_values(["path", "series_id"], kind="stable", ignore_index=True)


def _all_dicom_rows(series: dict[str, list[Frame]], unread: dict[Source, Row]) -> list[Row]:
    """Rows of all series; the rows of unreadable files learn whose they may be."""
    lost = lost_files(unread, {uid: [f.source for f in frames] for uid, frames in series.items()})
    rows: list[Row] = []
    single: list[tuple[Row, Frame]] = []
    for uid, frames in series.items():
        made, alone = dicom_rows(uid, frames, sum(uid in uids for uids in lost.values()))
        rows += made
        single += alone
    say_one_uid_per_slice(single)
    number_births(rows)
    for source, uids in lost.items():
        if uids and unread[source]:
            exams = {frame.exam for uid in uids for frame in series[uid]}
            patients = {patient for patient, _ in exams}
            unread[source]["patient_id"] = patients.pop() if len(patients) == 1 else ""
            unread[source]["exam_id"] = exams.pop()[1] if len(exams) == 1 else ""
    return rows


Found = tuple[Header, list[Frame]] | list[Row] | None


def _read_chunk(chunk: list[Source], saved: Progress, pool: ThreadPoolExecutor) -> Iterator[Found]:
    """What each file holds, in order; what an earlier, unfinished run read is not read again."""
    known = saved.known(chunk)
    todo = [s for s in chunk if s not in known]
    batches = [todo[n : n + _BATCH] for n in range(0, len(todo), _BATCH)]
    made = chain.from_iterable(pool.map(lambda batch: [_read_source(s) for s in batch], batches))
    fresh = dict(zip(todo, made, strict=True))
    saved.keep(fresh)
    return (known[s] if s in known else fresh[s] for s in chunk)


def _read_source(source: Source) -> Found:
    """Header and frames of a DICOM file, rows of other volumes or of a file that cannot be read, None of others.

    No row of a file without content: it is of interest only among the slices of a series.
    """
    try:
        if source.trouble:
            raise ScanError(source.trouble)
        if volume_files.is_volume_file(source.path):
            return _file_rows(source)
        if source.name.endswith(SUFFIXES) and (why := volume_files.pointer(source)):
            raise ScanError(why)
        found = None if source.name.endswith(volume_files.UNREAD) else read_frames(source)
        if found is None and (why := volume_files.unread(source)):
            raise ScanError(why)
        return found
    except BlankFileError:
        why = volume_files.unread(source)
        return [unread_row(source, why)] if why else []
    except Exception as error:  # one bad file never stops an index
        return [unread_row(source, reason_of(error))]


def read_volume(path: str | Path, kind: str = "intensity", threshold: float | None = None) -> Volume:
    """Open one row of the index, or a NIfTI, NRRD, MetaImage, MGH or Analyze file, or a folder with one DICOM volume.

    Args:
        path: `series.csv`'s path: a NIfTI file, `file.nii.gz#3` for volume 3 of a 4D
            NIfTI, or `folder#SeriesInstanceUID/0`. A folder may lie in a zip archive.
        kind: "intensity", or "label" for a mask (integers kept).
        threshold: Of a mask: voxels above it are 1, all others 0. Without it, values that are
            not whole are refused.

    Returns:
        Volume; intensities are float32 with DICOM's or NIfTI's rescale applied.

    Raises:
        ScanError: Nothing there, more than one volume, or not a regular readable one.
    """
    location, wanted, number = _parts(path)
    if volume_files.is_volume_file(location):
        (source,) = _sources_at(location)
        return volume_files.read_volume_file(source, "label" if kind == "label" else "intensity", number, threshold)
    volumes = {(uid, n): stack for uid, parts in _stacks_at(location).items() for n, stack in enumerate(parts)}
    if wanted is None:
        good = {key: stack for key, stack in volumes.items() if _is_regular(stack)} or volumes
        if len(good) != 1:
            raise ScanError(
                f"{location} holds {len(good)} series; name one as FOLDER#SeriesInstanceUID/0 (see `scan2gene index`)"
            )
        (stack,) = good.values()
    elif (wanted, number or 0) not in volumes:
        raise ScanError(f"{location} holds no volume {number or 0} of that series any more; index the scans anew")
    else:
        stack = volumes[wanted, number or 0]
    volume = dicom.read_stack(stack)
    if kind == "label":
        return Volume(label_array(volume.array, threshold), volume.affine, "label")
    return volume


def _series_of(source: Source, header: Header) -> str:
    """SeriesInstanceUID; files without one are a series per folder, of which several may have one name."""
    name = f"no-series-{Path(source.folder).name}-{zlib.crc32(source.folder.encode()):08x}"
    return header.get("SeriesInstanceUID") or name


def _is_regular(stack: Stack) -> bool:
    try:
        grid(stack)
    except (ScanError, ValueError):
        return False
    return True


def _parts(path: str | Path) -> tuple[str, str | None, int | None]:
    """File or folder, SeriesInstanceUID, number of the volume."""
    text = str(path)
    location, mark, rest = text.rpartition("#")
    if not mark or Path(text).exists():
        return text, None, None
    if volume_files.is_volume_file(location) and rest.isdigit():
        return location, None, int(rest)
    uid, slash, number = rest.rpartition("/")
    return (location, uid, int(number)) if slash and number.isdigit() else (text, None, None)


def fingerprint(paths: Iterable[str | Path]) -> list[tuple[str, int, int]]:
    """(path, bytes, modification time in ns) of every file that is read: cheap evidence that nothing changed.

    Args:
        paths: Folders, files, or rows of the index; of a row only its own files count.
    """
    found: list[Source] = []
    stacks_at = functools.cache(_stacks_at)  # every folder is listed once, however many rows lie in it
    for path in paths:
        location, uid, number = _parts(path)
        if uid is None:
            found += find([location, *volume_files.companions(location)])
        else:
            parts = stacks_at(location).get(uid, [])
            frames = parts[number or 0].frames if (number or 0) < len(parts) else []
            found += dict.fromkeys(frame.source for frame in frames)
    return [(source.path, source.size, source.mtime_ns) for source in found]


def _sources_at(location: str) -> tuple[Source, ...]:
    if not Path(location).exists() and ".zip/" not in location.lower():
        raise ScanError(f"there is no scan at {location}")
    return tuple(find([location]))


def _stacks_at(location: str) -> dict[str, list[Stack]]:
    """Volumes below a folder, by SeriesInstanceUID; read again only when a file there changed."""
    return _read_stacks(_sources_at(location))


@functools.lru_cache(maxsize=16)
def _read_stacks(sources: tuple[Source, ...]) -> dict[str, list[Stack]]:
    series: dict[str, list[Frame]] = defaultdict(list)
    unread: list[Source] = []
    trouble: ScanError | None = None
    for source in sources:
        try:
            found = None if volume_files.is_volume_file(source.path) else read_frames(source)
        except ScanError as error:  # the index's business, unless it may be a slice of a series here
            trouble = trouble if isinstance(error, BlankFileError) else error
            unread.append(source)
            continue
        if found is not None:
            header, frames = found
            series[_series_of(source, header)] += frames
    if trouble is not None and not series:
        raise trouble
    lost = lost_files(unread, {uid: [f.source for f in frames] for uid, frames in series.items()})
    return {uid: stacks(frames, sum(uid in uids for uids in lost.values())) for uid, frames in series.items()}


def _file_rows(source: Source) -> list[Row]:
    """One row per 3D volume of a file, which is read to its end: only so is a cut noticed now."""
    form, geometry, count, note = volume_files.format_of(source.path), {}, 1, ""
    status, reason = "ok", ""
    try:
        held = volume_files.check(source)
        geometry, count, note = geometry_columns(held.shape, held.affine), held.count, held.note
        check_plausible(held.shape, [geometry[f"spacing_{axis}_mm"] for axis in "ijk"])
    except Exception as error:  # its format and geometry are shown all the same
        status, reason = "rejected", reason_of(error)
    sequence, rule = recognise({}, name=Path(source.path).name.split(".")[0])
    rows = []
    for number in range(count):
        name = f"{source.path}#{number}" if count > 1 else source.path
        row = index_row(
            series_id=name, path=name, format=form, exam_id=source.folder, n_files=1, n_copies=0, note=note,
            told_apart_by=f"volume={number}" if count > 1 else "", sequence=sequence, sequence_rule=rule,
            status=status, reason=reason,
        )  # fmt: skip
        rows.append(row | geometry)
    return rows


def _mend_time_points(rows: list[Row]) -> None:
    """Recognise again, without the number, what is called t0, t1, t2 beside each other."""
    named = [_place_and_name(row) for row in rows]
    cut = without_time_points(named)
    for row, key in zip(rows, named, strict=True):
        if key in cut:
            is_dicom = row["format"] == "dicom"
            header = {k: row[k] for k in KEYWORDS} | {"SeriesDescription": cut[key]} if is_dicom else {}
            sequence, rule = recognise(header, "" if is_dicom else cut[key] or "-")
            row |= {"sequence": sequence, "sequence_rule": f"{rule}; the number in '{key[1]}' {TIME_POINT}"}


def _place_and_name(row: Row) -> tuple[str, str]:
    """What files or series lie beside each other, and what they are called."""
    if row["format"] == "dicom":
        return row["exam_id"], row["SeriesDescription"]
    path = Path(row["path"])
    return str(path.parent), path.name.split(".")[0]


def copied_series(table: pd.DataFrame) -> int:
    """How many series of an index were found in more than one place, and count once."""
    return int((pd.to_numeric(table["n_copies"], errors="coerce") > 0).sum()) if "n_copies" in table else 0
