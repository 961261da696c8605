"""From DICOM files to frames: a classic file holds one, an enhanced one many, a Siemens mosaic one picture of tiles."""

from __future__ import annotations

import warnings
from typing import Any

from scan2gene.core.errors import ScanError
from scan2gene.imaging.frame import Frame, birth_mark, classic_frame, damaged_frame, whole
from scan2gene.imaging.multiframe import enhanced_frames, enhanced_header, mosaic_frames
from scan2gene.imaging.sources import Source, as_stream
from scan2gene.imaging.tags import NATIVE, Header, of_dataset, scan

HEAD_BYTES = 16 << 10  # nearly every header's wanted part lies in here
ROOM_BYTES = 64 << 20  # of a file besides its pixels
MAX_COMPRESSION = 1000  # lossless codecs reach this on empty slices only
_PIXEL_TAG = b"\xe0\x7f\x10\0"  # little endian
_DIRECTORY = "1.2.840.10008.1.3.10"  # SOP class of a DICOMDIR
# Enhanced MR, legacy converted enhanced MR, enhanced CT: they may hold one frame.
ENHANCED = frozenset(f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("4.1", "4.4", "2.1"))
MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4"  # SOP class of a classic MR image
SUFFIXES = (".dcm", ".ima", ".dicom", ".dcm.gz", ".ima.gz")


class BlankFileError(ScanError):
    """A file without content that is not named like DICOM: a slice whose copy failed, or no scan at all."""


def read_frames(source: Source) -> tuple[Header, list[Frame]] | None:
    """Header and frames of one file, its pixels unread; None when it is no DICOM image file by any sign.

    Of a file whose header can be read and whose image cannot, the frame says so (`Frame.damage`).

    Raises:
        ScanError: It looks or is named like DICOM but its header cannot be read.
    """
    try:
        return _frames(source)
    except ScanError:
        raise
    except Exception as error:
        raise ScanError(_unreadable(error)) from None


def _unreadable(error: Exception) -> str:
    """Words for a foreign error; what the header holds is not repeated, it may be a name."""
    return f"unreadable ({type(error).__name__})"


def _frames(source: Source) -> tuple[Header, list[Frame]] | None:
    head = source.read(HEAD_BYTES)
    named = source.name.endswith(SUFFIXES)
    if head[128:132] != b"DICM" and not named and not _bare(head):
        if not head.strip(b"\0"):
            raise BlankFileError("a file without content")
        return None
    if not head:
        raise ScanError("an empty file")
    if not head.strip(b"\0"):
        raise ScanError("the file begins with zeros only, as after a failed copy")
    header = scan(head, complete=len(head) < HEAD_BYTES)
    if header is None and len(head) == HEAD_BYTES and head[128:132] == b"DICM":
        header = scan(source.read(1 << 20), complete=False)
    if header is None:
        header = of_dataset(read_dataset(source))
    if header["MediaStorageSOPClassUID"] == _DIRECTORY:
        return None
    if not header.get("SOPInstanceUID") and not header.get("SeriesInstanceUID"):
        raise ScanError("a DICOM file without image identifiers")
    if header.get("PatientBirthDate"):
        header["PatientBirthDate"] = birth_mark(header["PatientBirthDate"])
    try:
        _refuse_cut_short(source, header, head)
        return _frames_of(source, header)
    except Exception as error:  # headers hold anything
        if not header.get("SeriesInstanceUID"):
            raise
        why = str(error) if isinstance(error, ScanError) else _unreadable(error)
        return header, [damaged_frame(source, header, why)]


def _frames_of(source: Source, header: Header) -> tuple[Header, list[Frame]]:
    if whole(header.get("NumberOfFrames")) > 1 or header.get("SOPClassUID") in ENHANCED:
        dataset = read_dataset(source)
        header = enhanced_header(header, dataset)
        return header, enhanced_frames(source, header, dataset)
    if "MOSAIC" in header.get("ImageType", "").split("\\"):
        return header, mosaic_frames(source, header, read_dataset(source))
    return header, [classic_frame(source, header)]


def _bare(head: bytes) -> bool:
    """A data set without preamble: little endian, beginning with group 0002 or 0008."""
    return head[:2] in (b"\x08\0", b"\x02\0") and head[3:4] == b"\0" and len(head) > 64


def read_dataset(source: Source, pixels: int = 0, words: list[str] | None = None) -> Any:
    """A file by pydicom.

    Args:
        source: The file.
        pixels: With its pixels, which take so many bytes at most; 0: without.
        words: Keywords of the elements that are wanted; default: all.

    Raises:
        ScanError: It cannot be parsed.
    """
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    # What is odd is judged here; pydicom's warnings would print paths and values, and those may be names.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")
    try:
        with as_stream(source, pixels + ROOM_BYTES) if pixels else source.open() as stream:
            start = stream.read(132)
            stream.seek(0)
            bare = start[128:132] != b"DICM"
            if bare and not _bare(start):
                raise ScanError("not a readable DICOM file: it has neither the DICM mark nor a DICOM data set")
            dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=bare, specific_tags=words)
            if "TransferSyntaxUID" not in dataset.file_meta:
                implicit = dataset.is_implicit_VR
                dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            return dataset
    except ScanError:
        raise
    except Exception as error:  # damaged headers raise many kinds
        raise ScanError(f"not a readable DICOM file ({type(error).__name__})") from None


def _refuse_cut_short(source: Source, header: Header, head: bytes) -> None:
    """An uncompressed image needs so many bytes, a compressed one a small share of them; fewer, and it was cut.

    Also a guard against a damaged header that asks for more memory than there is.
    """
    if header.get("SOPClassUID") == MR_IMAGE and not header.get("BitsAllocated"):
        raise ScanError("cut short: its header ends before it describes the image")
    samples = 1
    for keyword in ("NumberOfFrames", "SamplesPerPixel"):
        samples *= max(whole(header.get(keyword)), 1)
    bits = whole(header.get("BitsAllocated"))
    if header.get("PhotometricInterpretation") == "YBR_FULL_422":  # two pixels share their colour
        samples, bits = samples // 3, 2 * bits
    need = samples * whole(header.get("Rows")) * whole(header.get("Columns")) * bits // 8
    gzipped = source.name.endswith(".gz")  # then the size is that of the packed file
    left = source.size - (0 if gzipped else int(header.get("HeaderBytes", 0)))
    packed = gzipped or header.get("TransferSyntaxUID") not in NATIVE
    if left * (MAX_COMPRESSION if packed else 1) < need:
        raise ScanError(f"cut short: the image needs {need} bytes and the file has {left} after its header")
    if need and not packed and _lacks_the_last_bytes(head, source.size, need):
        raise ScanError(f"cut short: the image needs {need} bytes and the file ends before them")


def _lacks_the_last_bytes(head: bytes, size: int, need: int) -> bool:
    """Whether the pixels would end behind the file, as far as its first bytes tell where they begin."""
    end = size - need - need % 2  # of the header, where nothing follows the pixels
    if any(head.startswith(_PIXEL_TAG, max(end - length, 0)) for length in (12, 8)):  # explicit, implicit
        return False
    header = scan(head, complete=size <= len(head), pixels=True) or {}
    return "PixelData" in header and int(header["PixelData"].split()[0]) + need > size
