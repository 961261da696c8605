"""Public cohorts from open S3 buckets: list, download with resume, verify, lay out for `index`."""

from __future__ import annotations

import hashlib
import re
import shutil
import urllib.parse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from scan2gene.cohorts.idc import Wanted
from scan2gene.cohorts.public import study_text
from scan2gene.core.console import live
from scan2gene.core.download import NotDownloaded, download, forget, get_text
from scan2gene.core.errors import CohortError
from scan2gene.core.files import write_text
from scan2gene.core.tables import table_as_meant, write_csv
from scan2gene.core.text import file_size

ENDPOINT = "https://{bucket}.s3.amazonaws.com"
RECORD = "fetched.csv"  # one row per series that is whole
RECORD_COLUMNS = (
    "patient_id", "study", "series", "description", "files", "bytes", "md5_checked", "licence", "source",
)  # fmt: skip
WORKERS = 8  # files at a time: slices are small, and most of the time is waiting
_EVERY = 25  # series between two writings of the record
_MD5 = re.compile(r"[0-9a-f]{32}")
_PLAIN = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Fetched:
    """What came.

    Args:
        folder: With `scans/`, `fetched.csv` and `study.yaml`.
        series: Whole series, earlier ones included.
        files: Their files.
        md5_checked: Files whose MD5 was the one that the server states; of the others the size alone was compared.
        broken: (series, why) of those that are not whole.
    """

    folder: Path
    series: int
    files: int
    md5_checked: int
    broken: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Object:
    """One file of a bucket."""

    key: str
    size: int
    etag: str


def fetch_cohort(what: Wanted, folder: Path, endpoint: str = ENDPOINT) -> Fetched:
    """Download series to `folder/scans/<patient>/<study>/<series>/`; what is whole already is not asked for again.

    Args:
        what: From `idc.wanted`.
        folder: Made if needed.
        endpoint: S3 server; `{bucket}` in it stands for the bucket's name, else the name becomes the first folder.

    Raises:
        CohortError: No room, or the server cannot be reached; what came stays, and the same call goes on.
    """
    if not endpoint.startswith(("http://", "https://")):
        raise CohortError(f"--endpoint takes an address such as http://host:9000, got {endpoint!r}")
    record = _record(folder)
    todo = [row for row in what.series.to_dict("records") if not _is_whole(folder, row, record)]
    _check_room(folder, todo)
    broken: list[tuple[str, str]] = []
    pool = ThreadPoolExecutor(WORKERS)
    try:
        for n, row in enumerate(todo, start=1):
            live(f"series {n} of {len(todo)}: {row['PatientID']} {row['SeriesDescription']}")
            try:
                record[row["SeriesInstanceUID"]] = _series(row, folder, endpoint, pool)
            except _Broken as why:
                broken.append((row["SeriesInstanceUID"], str(why)))
            if n % _EVERY == 0:
                _write_record(folder, record)
    except NotDownloaded as stop:
        host = urllib.parse.urlsplit(endpoint.replace("{bucket}.", "")).netloc
        raise CohortError(
            f"{host} cannot be reached ({stop.reason}). {len(record)} series are whole; with a network "
            "the same command goes on."
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
        live("")
        _write_record(folder, record)
    parts = folder / ".parts"
    if parts.is_dir() and not broken:
        shutil.rmtree(parts)
    study = folder / "study.yaml"
    if not study.exists():  # a study that was edited is its owner's
        write_text(study, study_text(what.name))
    rows = [record[i] for i in what.series["SeriesInstanceUID"] if i in record]
    return Fetched(
        folder,
        len(rows),
        sum(int(row["files"]) for row in rows),
        sum(int(row["md5_checked"]) for row in rows),
        tuple(broken),
    )


class _Broken(Exception):
    """A series that is not whole, and why."""


def _series(row: Mapping[str, Any], folder: Path, endpoint: str, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Fetch one series; its row of the record."""
    bucket, prefix = _place(row["series_aws_url"])
    base = endpoint.format(bucket=bucket) if "{bucket}" in endpoint else f"{endpoint.rstrip('/')}/{bucket}"
    try:
        objects = list_objects(base, prefix)
    except NotDownloaded as stop:
        if not stop.refused:
            raise
        raise _Broken(f"the server refuses to list it ({stop.reason})") from None
    if len(objects) != int(row["instanceCount"]):
        raise _Broken(f"the index has {row['instanceCount']} files, the server {len(objects)}")
    target = _folder(folder, row)
    target.mkdir(parents=True, exist_ok=True)
    (folder / ".parts").mkdir(exist_ok=True)
    checked = list(pool.map(lambda found: _file(base, found, target, folder / ".parts"), objects))
    return {
        "patient_id": row["PatientID"], "study": row["StudyInstanceUID"], "series": row["SeriesInstanceUID"],
        "description": row["SeriesDescription"], "files": len(objects), "bytes": sum(o.size for o in objects),
        "md5_checked": sum(checked), "licence": row["license_short_name"], "source": row["source_DOI"],
    }  # fmt: skip


def _file(base: str, found: _Object, target: Path, parts: Path) -> bool:
    """Fetch one file unless it is there; True where its MD5 was compared."""
    path = target / _PLAIN.sub("-", found.key.rpartition("/")[2])
    url = f"{base}/{urllib.parse.quote(found.key)}"
    part = parts / _PLAIN.sub("-", found.key)
    for _ in range(2):  # a file that came wrong is fetched once more
        if path.is_file() and not _wrong(path, found):
            return bool(_MD5.fullmatch(found.etag))
        try:
            download(url, part, f'"{found.etag}"')
        except NotDownloaded as stop:
            if stop.refused or stop.page:
                raise _Broken(f"the server refuses {found.key} ({stop.reason})") from None
            raise
        why = _wrong(part, found)
        if why:
            forget(part)
        else:
            part.replace(path)
            return bool(_MD5.fullmatch(found.etag))
    raise _Broken(f"{found.key}: {why}")


def _wrong(path: Path, found: _Object) -> str:
    """Why a file is not the listed one; empty where it is.

    An ETag is the MD5 of a file that was uploaded in one piece; of others it ends in -N and says nothing.
    Source: Amazon S3 API Reference, "Object", ETag.
    """
    if path.stat().st_size != found.size:
        return f"{path.stat().st_size} bytes came, and {found.size} are listed"
    if not _MD5.fullmatch(found.etag):
        return ""
    with path.open("rb") as stream:
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return "" if md5 == found.etag else f"its MD5 is {md5}, and {found.etag} is listed"


def list_objects(base: str, prefix: str) -> list[_Object]:
    """Every object below a prefix, page by page.

    Raises:
        NotDownloaded: No answer, or a refusal.

    Source: Amazon S3 API Reference, "ListObjectsV2".
    """
    objects: list[_Object] = []
    token = ""
    while True:
        query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
        try:
            root = ElementTree.fromstring(get_text(f"{base}/?{urllib.parse.urlencode(query)}"))
        except ElementTree.ParseError:
            raise NotDownloaded("what answers is no S3 server", refused=True) from None
        for item in root.findall("{*}Contents"):
            key, size = item.findtext("{*}Key", ""), int(item.findtext("{*}Size", "0"))
            if not key.endswith("/"):
                objects.append(_Object(key, size, item.findtext("{*}ETag", "").strip('"')))
        token = root.findtext("{*}NextContinuationToken", "")
        if root.findtext("{*}IsTruncated") != "true" or not token:
            return objects


def _place(url: str) -> tuple[str, str]:
    """Bucket and prefix of s3://bucket/prefix/*."""
    bucket, _, rest = url.removeprefix("s3://").partition("/")
    return bucket, rest.rstrip("*")


def _folder(folder: Path, row: Mapping[str, Any]) -> Path:
    names = (row["PatientID"], row["StudyInstanceUID"], row["SeriesInstanceUID"])
    return folder.joinpath("scans", *(_PLAIN.sub("-", str(name)) for name in names))


def _record(folder: Path) -> dict[str, dict[str, Any]]:
    """Series that are whole, by SeriesInstanceUID."""
    path = folder / RECORD
    if not path.is_file():
        return {}
    table = table_as_meant(pd.read_csv(path, dtype=str, keep_default_na=False))
    if tuple(table.columns) != RECORD_COLUMNS:
        raise CohortError(
            f"{path} was not written by this version of scan2gene. Delete it; files stay and are checked."
        )
    return {row["series"]: row for row in table.to_dict("records")}


def _write_record(folder: Path, record: Mapping[str, Mapping[str, Any]]) -> None:
    if record:
        write_csv(folder / RECORD, pd.DataFrame(list(record.values()), columns=list(RECORD_COLUMNS)))


def _is_whole(folder: Path, row: Mapping[str, Any], record: Mapping[str, Mapping[str, Any]]) -> bool:
    """True where the record has the series and its files are there with their sizes."""
    known = record.get(row["SeriesInstanceUID"])
    if known is None:
        return False
    sizes = [p.stat().st_size for p in _folder(folder, row).glob("*") if p.is_file()]
    return len(sizes) == int(known["files"]) and sum(sizes) == int(known["bytes"])


def _check_room(folder: Path, todo: Sequence[Mapping[str, Any]]) -> None:
    """Files that are there already are counted once more, which errs on the safe side."""
    needed = sum(float(row["series_size_MB"]) for row in todo) * 1e6
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise CohortError(f"{file_size(needed)} are to come, and {folder} has room for {file_size(free)}")
