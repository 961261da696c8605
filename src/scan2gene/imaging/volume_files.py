"""Files that hold a volume in a format other than DICOM: which are read, by what, and why others are not."""

from __future__ import annotations

from pathlib import Path

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Kind, Volume
from scan2gene.imaging import itk_files, nifti
from scan2gene.imaging.nifti import Checked
from scan2gene.imaging.sources import Source

_READ = (*nifti.NIFTI_SUFFIXES, *nifti.MGH_SUFFIXES, nifti.PAIR_SUFFIX, *itk_files.ITK_SUFFIXES)
_OTHER_VOLUMES = (
    ".mnc", ".mnc.gz", ".mif", ".mif.gz", ".mih", ".head", ".par", ".rda", ".spar", ".vtk", ".vti", ".vmr", ".v16",
    ".fdf", ".gipl", ".gipl.gz", ".pic", ".vff", ".nii.bz2", ".nii.xz", ".nii.zst", ".img.gz", ".hdr.gz", ".nrrd.gz",
    ".mha.gz", ".npy", ".npz", ".tif", ".tiff",
)  # fmt: skip
_ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".7z", ".rar")
UNREAD = _OTHER_VOLUMES + _ARCHIVES
_LONGEST_POINTER = 2048  # bytes
_POINTERS = (
    (b"version https://git-lfs.github.com/", "a pointer of Git LFS, its content is not here: git lfs pull"),
    (b"version https://hawser.github.com/", "a pointer of Git LFS, its content is not here: git lfs pull"),
    (b"/annex/objects/", "a pointer of git-annex, its content is not here: git annex get (or datalad get)"),
)
_MAGIC = (
    (b"PK\x03\x04", "a zip archive by its content: name it .zip"),
    (b"BZh", "packed by bzip2: unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "packed by xz: unpack it, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard: unpack it, or pack it with gzip"),
    (b"NRRD000", "an NRRD file by its content: name it .nrrd"),
    (b"<!doctype html", "a web page, as of a download that asked for a login: fetch the file again"),
    (b"<html", "a web page, as of a download that asked for a login: fetch the file again"),
    (b"<?xml", "an XML text, as of a failed download: fetch the file again"),
)


def is_volume_file(path: str | Path) -> bool:
    """True for names of formats that are read and are not DICOM, whatever the case; .img needs its .hdr beside it."""
    name = str(path).lower()
    if name.endswith(nifti.PAIR_SUFFIX):
        return bool(_other_half(str(path), ".hdr"))
    return name.endswith(_READ)


def format_of(path: str | Path) -> str:
    """Name of the format, as the index shows it: nifti, mgh, analyze, nrrd or metaimage."""
    name = str(path).lower()
    if name.endswith(nifti.MGH_SUFFIXES):
        return "mgh"
    if name.endswith(nifti.PAIR_SUFFIX):
        return "analyze"
    if name.endswith(itk_files.NRRD_SUFFIXES):
        return "nrrd"
    return "metaimage" if name.endswith(itk_files.META_SUFFIXES) else "nifti"


def stem(path: str | Path) -> str:
    """A file's name without folders and without the suffix of its format: `T1.v2.nii.gz` -> `T1.v2`."""
    name = Path(path).name
    ending = next((s for s in sorted(_READ, key=len, reverse=True) if name.lower().endswith(s)), "")
    return name[: len(name) - len(ending)]


def read_volume_file(source: Source, kind: Kind, number: int | None = None, threshold: float | None = None) -> Volume:
    """Read one volume.

    Args:
        source: The file.
        kind: "intensity" or "label".
        number: Volume of a 4D file.
        threshold: Of a label: voxels above it are 1, all others 0.

    Raises:
        ScanError: As `check`.
    """
    _refuse(source)
    if source.name.endswith(itk_files.ITK_SUFFIXES):
        return itk_files.read_itk(source, kind, threshold)
    return nifti.read_nifti(source, kind, number, threshold)


def check(source: Source) -> Checked:
    """Read a file to its end and keep nothing.

    Raises:
        ScanError: It is not what its name says, is damaged, or holds no volume.
    """
    _refuse(source)
    return itk_files.check_itk(source) if source.name.endswith(itk_files.ITK_SUFFIXES) else nifti.check_nifti(source)


def unread(source: Source) -> str:
    """Why a file that is no DICOM is not read, where its name is that of a volume or an archive; else empty."""
    name = source.name
    ending = next((e for e in sorted(UNREAD, key=len, reverse=True) if name.endswith(e)), "")
    if ending:
        return f"{ending} files are not read: {'unpack it' if ending in _ARCHIVES else 'convert it to NIfTI or NRRD'}"
    if name.endswith(nifti.PAIR_SUFFIX):
        return "unpack the archive to read .img files" if source.archive else "an .img file without its .hdr beside it"
    if name.endswith(".hdr") and not _other_half(source.path, nifti.PAIR_SUFFIX):
        return "an .hdr file without its .img beside it" if not source.archive else ""
    return ""


def companions(path: str | Path) -> list[str]:
    """Other files that a volume is read from: the .hdr of an .img, the data file of an .mhd or .nhdr."""
    return [*_other_half(str(path), ".hdr"), *itk_files.data_files(path)]


def _other_half(path: str, suffix: str) -> list[str]:
    """The other file of an Analyze or NIfTI pair, whatever the case of its suffix."""
    if not path.lower().endswith((".img", ".hdr")):
        return []
    base = path[:-4]
    return [file for file in dict.fromkeys((base + suffix, base + suffix.upper())) if Path(file).is_file()][:1]


def pointer(source: Source) -> str:
    """What a small file stands for that was never fetched; empty where it is no pointer."""
    if not 0 < source.size <= _LONGEST_POINTER:
        return ""
    head = source.read(_LONGEST_POINTER)
    return next(
        (why for start, why in _POINTERS if head.startswith(start) or (start in head and b"annex" in start)), ""
    )


def _refuse(source: Source) -> None:
    """Refuse files that are not what their name says, each with its own reason."""
    if source.trouble:
        raise ScanError(source.trouble)
    if not source.size:
        raise ScanError("an empty file: copy or fetch it again")
    why = pointer(source)
    head = source.read(512)
    if not why and head[128:132] == b"DICM":
        why = "a DICOM file by its content: name it .dcm"
    if not why and not head.strip(b"\0"):
        why = "the file begins with zeros only, as after a failed copy"
    why = why or next((text for magic, text in _MAGIC if head.lstrip().lower().startswith(magic.lower())), "")
    if why.startswith("an NRRD") and source.name.endswith(itk_files.NRRD_SUFFIXES):
        return
    if why:
        raise ScanError(why)
