"""`make bench`: headers a second and memory of the index, beside pydicom and GDCM (SimpleITK).

The files are those of a real exam, copied into 45 folders with identifiers of their own, so
that every header has the length and the nested sequences of a scanner's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from timing import peak_mb

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "tcia_brain_tumor_progression_dicom" / "Study3"
FOLDERS = 45


def write_files(target: Path) -> int:
    """Copies of the exam, each under series and image identifiers of its own; returns their number."""
    sources = sorted(p for p in DATA.rglob("*.dcm"))
    for n in range(FOLDERS):
        for source in sources:
            folder = target / f"{n:03d}" / source.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            data = bytearray(source.read_bytes())
            for begin in _uids(data):  # the last digits of the identifiers; their length stays
                data[begin : begin + 3] = f"{n + 100:03d}".encode()
            (folder / source.name).write_bytes(data)
    return FOLDERS * len(sources)


def _uids(data: bytearray) -> list[int]:
    """Where the last three digits of SOPInstanceUID and SeriesInstanceUID lie."""
    places = []
    for tag in (b"\x08\x00\x18\x00UI", b"\x20\x00\x0e\x00UI"):
        at = data.index(tag)
        length = int.from_bytes(data[at + 6 : at + 8], "little")
        value = bytes(data[at + 8 : at + 8 + length]).rstrip(b"\0")
        places.append(at + 8 + len(value) - 3)
    return places


def ours(folder: str) -> int:
    """Index with scan2gene; number of volumes."""
    import scan2gene

    return int((scan2gene.index(folder)["status"] == "ok").sum())


def by_pydicom(folder: str) -> int:
    """Read the same keywords of every file with pydicom, two threads, its fast path: named tags, no pixels."""
    from concurrent.futures import ThreadPoolExecutor

    import pydicom

    from scan2gene.imaging.tags import KEYWORDS, PLACING

    def read(path: Path) -> str:
        words = [*KEYWORDS, *PLACING]
        return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=words).SeriesInstanceUID)

    with ThreadPoolExecutor(2) as pool:
        return len(set(pool.map(read, sorted(Path(folder).rglob("*.dcm")))))


def by_gdcm(folder: str) -> int:
    """Group every folder's files by series with GDCM."""
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader
    folders = sorted({p.parent for p in Path(folder).rglob("*.dcm")})
    return sum(
        len(reader.GetGDCMSeriesFileNames(str(f), uid)) > 0 for f in folders for uid in reader.GetGDCMSeriesIDs(str(f))
    )


PEERS = {"scan2gene": ours, "pydicom, named tags, two threads": by_pydicom, "GDCM (SimpleITK)": by_gdcm}


def lines() -> list[str]:
    """The table for RESULTS.md; empty where the real exam is absent."""
    if not DATA.is_dir():
        return []
    with tempfile.TemporaryDirectory() as name:
        count = write_files(Path(name))
        measured = {peer: [_measure(peer, name) for _ in range(3)] for peer in PEERS}
    found = {peer: {m[2] for m in runs} for peer, runs in measured.items()}
    if len(set.union(*found.values())) != 1:
        raise RuntimeError(f"the readers disagree on the number of series: {found}")
    rates = {peer: count / float(np.median([m[0] for m in runs])) for peer, runs in measured.items()}
    table = [
        f"| index {count} DICOM files of {FOLDERS * 4} series: a real exam, {FOLDERS} times | headers a second | ratio "
        "| peak memory, MB |",
        "|---|---|---|---|",
    ]
    for peer, runs in measured.items():
        peak = max(m[1] for m in runs)
        table.append(f"| {peer} | {rates[peer]:,.0f} | {rates['scan2gene'] / rates[peer]:.1f} | {peak:.0f} |")
    return [*table, "", "Each in a process of its own, imports not counted; files in the system's cache."]


def _measure(peer: str, folder: str) -> tuple[float, float, int]:
    done = subprocess.run([sys.executable, __file__, peer, folder], capture_output=True, text=True, check=True)
    seconds, peak, series = done.stdout.split()[-3:]
    return float(seconds), float(peak), int(series)


def main(peer: str, folder: str) -> None:
    """Print seconds, peak memory in MB and number of series of one reader."""
    import pydicom
    import SimpleITK

    import scan2gene.imaging.index

    assert pydicom and SimpleITK and scan2gene.imaging.index  # imported before the clock starts
    begun = time.perf_counter()
    number = PEERS[peer](folder)
    spent = time.perf_counter() - begun
    print(spent, peak_mb(), number)


if __name__ == "__main__":
    main(*sys.argv[1:])
