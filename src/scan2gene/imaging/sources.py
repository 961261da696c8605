"""Where scans lie: files in folders, members of zip archives, gzipped files.

A zip archive is treated as a folder: `scans.zip/exam/0001.dcm` names a member. Nothing is
ever unpacked to disk, so a member's name cannot lead outside; members are read up to the
size that the archive's directory states, so an archive that blows up is refused unread.
"""

from __future__ import annotations

import functools
import gzip
import io
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from scan2gene.core.errors import ScanError
from scan2gene.core.text import file_size

MAX_UNPACKED_BYTES = 2 << 30  # of one compressed file; no MRI volume is larger
MAX_DEFLATE_RATIO = 1032  # deflate packs no tighter, and zeros nearly so tight: a mask may be mostly zeros
MAX_ZIP_RATIO = 1000  # of members other than NIfTI: DICOM has headers, and its images stay below 100
PIECE_BYTES = 4 << 20  # of a file, read at once
UNFINISHED = (".part", ".partial", ".crdownload", ".download")  # what browsers and download programs call them


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one member of a zip archive.

    Args:
        path: As shown to people; of a member, the archive's path, "/" and the member's name.
        size: Bytes as stored on disk, of a member unpacked.
        mtime_ns: Time of last change; of a member, the archive's.
        archive: Path of the zip archive, empty for a file.
        trouble: Why it cannot be read, empty when nothing is known against it.
    """

    path: str
    size: int
    mtime_ns: int
    archive: str = ""
    trouble: str = ""

    @property
    def name(self) -> str:
        """Lower-case name without folders."""
        return self.path.rpartition("/")[2].lower()

    @property
    def folder(self) -> str:
        """What it lies in."""
        return self.path.rpartition("/")[0]

    def open(self) -> IO[bytes]:
        """Stream of its bytes; gzip is unpacked on the way, except of NIfTI, whose reader does that.

        Raises:
            ScanError: Why it cannot be opened.
        """
        if self.trouble:
            raise ScanError(self.trouble)
        try:
            stream: IO[bytes]
            if self.archive:
                member = self.path[len(self.archive) + 1 :]
                stream = _archive(self.archive, self.mtime_ns).open(member)
            else:
                stream = Path(self.path).open("rb")  # noqa: SIM115  the caller closes it
            packed = self.name.endswith(".gz") and not self.name.endswith(".nii.gz")
            return gzip.GzipFile(fileobj=stream) if packed else stream  # type: ignore[return-value]
        except NotImplementedError:  # a kind of RuntimeError too
            raise ScanError(_unsupported(self)) from None
        except RuntimeError:
            raise ScanError("a zip member that needs a password: unpack it first") from None
        except (OSError, zipfile.BadZipFile, KeyError, ValueError) as error:
            raise ScanError(_why(error)) from None

    def read(self, limit: int = MAX_UNPACKED_BYTES) -> bytes:
        """Its first `limit` bytes.

        Raises:
            ScanError: It cannot be read, or is damaged.
        """
        try:
            with self.open() as stream:
                return _read_up_to(stream, limit)
        except (OSError, zipfile.BadZipFile, EOFError, zlib.error) as error:
            raise ScanError(_why(error)) from None


def _read_up_to(stream: IO[bytes], limit: int) -> bytes:
    """The first bytes of a stream, by pieces: asked for all at once, a buffered stream reserves the whole limit."""
    pieces = []
    while limit > 0 and (piece := stream.read(min(limit, PIECE_BYTES))):
        pieces.append(piece)
        limit -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def find(paths: Iterable[str | Path]) -> Iterator[Source]:
    """Every file below some folders, sorted; members of zip archives included.

    Hidden files and folders are passed over, and so are run directories of scan2gene:
    their stored volumes are no scans. Links are followed, loops are not.

    Raises:
        ScanError: A path does not exist.
    """
    for path in map(Path, paths):
        if path.is_dir():
            yield from _walk(str(path))
        elif path.exists():
            yield from _file(str(path))
        else:
            yield from _inside_archive(path)


def _walk(root: str) -> Iterator[Source]:
    seen = {os.path.realpath(root)}
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            yield Source(folder, 0, 0, trouble=f"a folder that cannot be read: {error.strerror}")
            continue
        names = {entry.name for entry in entries}
        if {"study.json", "stages"} <= names and folder != root:
            continue
        below = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.endswith(".tmp"):
                continue
            if entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                if real not in seen:
                    seen |= {real, os.path.realpath(real)} if entry.is_symlink() else {real}
                    below.append(entry.path)
            else:
                yield from _file(entry.path)
        folders += reversed(below)


def _file(path: str) -> Iterator[Source]:
    try:
        path.encode()
    except UnicodeEncodeError:  # such a name fits into no table and no report
        shown = path.encode(errors="surrogateescape").decode(errors="backslashreplace")
        yield Source(shown, 0, 0, trouble="its name or folder is not in UTF-8: rename it")
        return
    try:
        found = Path(path).stat()
    except OSError as error:
        yield Source(path, 0, 0, trouble=_lost_link(path) or f"cannot be read: {error.strerror}")
        return
    if not stat.S_ISREG(found.st_mode):  # a pipe or device would block
        return
    if path.lower().endswith(UNFINISHED):
        yield Source(
            path, found.st_size, found.st_mtime_ns, trouble="an unfinished download: fetch it again, or delete it"
        )
        return
    source = Source(path, found.st_size, found.st_mtime_ns)
    if source.name.endswith(".zip"):
        yield from _members(source)
    else:
        yield source


def _lost_link(path: str) -> str:
    """Words for a link of git-annex (DataLad, OpenNeuro) whose file was not fetched; empty for any other."""
    annexed = Path(path).is_symlink() and "annex/objects" in str(Path(path).readlink()).replace("\\", "/")
    return "a link of git-annex, its content is not here: git annex get (or datalad get)" if annexed else ""


@functools.lru_cache(maxsize=4)
def _members(archive: Source) -> tuple[Source, ...]:
    """Members of an archive, listed once for all rows that are read from it."""
    return tuple(_listed(archive))


def _listed(archive: Source) -> Iterator[Source]:
    try:
        infos = sorted(_archive(archive.path, archive.mtime_ns).infolist(), key=lambda info: info.filename)
    except Exception as error:  # a damaged directory raises many kinds
        yield Source(archive.path, archive.size, archive.mtime_ns, trouble=f"not a readable zip archive: {_why(error)}")
        return
    times = Counter(info.filename for info in infos)
    for info in infos:
        parts = info.filename.split("/")
        if info.is_dir() or any(part.startswith(".") and part != ".." for part in parts) or parts[0] == "__MACOSX":
            continue
        trouble = ""
        if ".." in parts or info.filename.startswith("/"):
            trouble = "a zip member whose name leads out of the archive"
        elif info.filename.lower().endswith(".zip"):
            trouble = "an archive inside an archive: unpack it first"
        elif times[info.filename] > 1:
            trouble = "a name that occurs twice in its zip archive, so that one hides the other: unpack it first"
        elif info.file_size > MAX_UNPACKED_BYTES or info.file_size > _ratio(info) * max(info.compress_size, 1):
            trouble = (
                f"a zip member that would unpack to {file_size(info.file_size)} from {file_size(info.compress_size)}"
            )
        yield Source(f"{archive.path}/{info.filename}", info.file_size, archive.mtime_ns, archive.path, trouble)


def _ratio(info: zipfile.ZipInfo) -> int:
    """How much larger than packed a member may be."""
    nifti = info.filename.lower().endswith(".nii")
    return MAX_DEFLATE_RATIO if nifti and info.compress_type == zipfile.ZIP_DEFLATED else MAX_ZIP_RATIO


def _inside_archive(path: Path) -> Iterator[Source]:
    """Members at or below `archive.zip/inner/path`."""
    archive = next((p for p in path.parents if p.suffix.lower() == ".zip" and p.is_file()), None)
    if archive is None:
        raise ScanError(f"there is no folder or file {path}")
    found = [s for s in _file(str(archive)) if s.path == str(path) or s.path.startswith(f"{path}/")]
    if not found:
        raise ScanError(f"the archive {archive} holds no {path.relative_to(archive)}")
    yield from found


@functools.lru_cache(maxsize=4)
def _archive(path: str, mtime_ns: int) -> zipfile.ZipFile:
    """An open archive; its directory is parsed once, not once per member.

    Some programs of Windows write backslashes between folders, against the zip specification (4.4.17).
    """
    archive = zipfile.ZipFile(path)
    for info in archive.infolist():
        if "\\" in info.filename:
            info.filename = info.filename.replace("\\", "/")
            archive.NameToInfo[info.filename] = info
    return archive


if hasattr(os, "register_at_fork"):  # a forked process shares the place in an open file with its parent
    os.register_at_fork(after_in_child=_archive.cache_clear)


_METHODS = {9: "Deflate64", 93: "Zstandard", 95: "XZ", 98: "PPMd"}  # of zip, that Python lacks


def _unsupported(source: Source) -> str:
    """Why a member of a zip archive cannot be unpacked here, although it may be intact."""
    member = source.path[len(source.archive) + 1 :]
    info = _archive(source.archive, source.mtime_ns).NameToInfo.get(member)
    if info is None or info.flag_bits & 0x60:  # strongly encrypted, or patched
        return "a zip member that needs a password: unpack it first"
    method = f"{info.compress_type}" + (f" ({_METHODS[info.compress_type]})" if info.compress_type in _METHODS else "")
    return f"a zip member of compression method {method}, which is not supported: unpack it first"


def _why(error: Exception) -> str:
    """Words for an error of the system or of zip and gzip, without a path in them."""
    if isinstance(error, PermissionError):
        return "cannot be read: no permission"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    return f"damaged or cut short ({type(error).__name__})"


def as_stream(source: Source, limit: int) -> IO[bytes]:
    """A stream that is searched at no cost: the file itself, or a member's or gzip's first bytes in memory."""
    if source.archive or source.name.endswith(".gz"):
        return io.BytesIO(source.read(limit))
    return source.open()
