"""Skull strippers that others wrote, run as programs: nothing of theirs is imported, and any version will do.

The brain is read off the stripped image, which both set to 0 outside: names and options of mask files differ between
versions, that does not.

Source: Isensee 2019, "Automated brain extraction of multisequence MRI using artificial neural networks" (HD-BET);
    Hoopes 2022, "SynthStrip: skull-stripping for any brain image".
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

import numpy as np

from scan2gene.core.errors import ScanError
from scan2gene.core.geometry import reoriented
from scan2gene.core.volume import Volume
from scan2gene.imaging.nifti import read_nifti, write_nifti
from scan2gene.preprocess.resample import like

# name -> command; its first word is looked for on the PATH
PROGRAMS = {
    "hd-bet": ("hd-bet", "-i", "{scan}", "-o", "{brain}", "-device", "{device}"),
    "synthstrip": ("mri_synthstrip", "-i", "{scan}", "-o", "{brain}"),
}
_ONE_AT_A_TIME = threading.Lock()  # each takes gigabytes; exams are prepared side by side


def installed() -> list[str]:
    """Names of the programs that are on the PATH, best first."""
    return [name for name, command in PROGRAMS.items() if shutil.which(command[0])]


def brain_by(program: str, volume: Volume, device: str = "cpu", minutes: float = 30) -> Volume:
    """The brain as a program finds it, a label volume of 0 and 1 on the volume's grid.

    Args:
        program: Key of `PROGRAMS`.
        volume: Head, array (I, J, K).
        device: What it computes on: cpu or cuda.
        minutes: It is stopped after so long.

    Raises:
        ScanError: It is not installed, fails, takes too long, or finds nothing.
    """
    command = PROGRAMS[program]
    if shutil.which(command[0]) is None:
        raise ScanError(f"skull_strip: the program {command[0]} is not on the PATH; install it, or take another method")
    upright = reoriented(volume, "RAS")
    values = upright.array.astype(np.float32)
    head = upright.with_array(values - values.min() + 1)  # no voxel of the head is 0: what is 0 afterwards was cut off
    with tempfile.TemporaryDirectory() as folder:
        scan, brain = Path(folder, "scan.nii.gz"), Path(folder, "brain.nii.gz")
        write_nifti(head, scan)
        words = [w.format(scan=scan, brain=brain, device=device) for w in command]
        words += ["-g"] if program == "synthstrip" and device == "cuda" else []
        with _ONE_AT_A_TIME:
            _run(words, minutes)
        if not brain.is_file():
            raise ScanError(f"skull_strip: {command[0]} ended without an error and without an image")
        stripped = read_nifti(brain)
    inside = Volume((stripped.array != 0).astype(np.uint8), stripped.affine, "label")
    if not inside.array.any() or inside.array.all():
        raise ScanError(f"skull_strip: {command[0]} found no brain")
    return like(inside, volume)


def _run(words: list[str], minutes: float) -> None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=60 * minutes)
    except subprocess.TimeoutExpired:
        raise ScanError(f"skull_strip: {words[0]} was stopped after {minutes:g} minutes") from None
    except OSError as error:
        raise ScanError(f"skull_strip: {words[0]} cannot be started: {error.strerror}") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["it said nothing"]
        folder = str(Path(words[2]).parent)
        raise ScanError(f"skull_strip: {words[0]} failed ({done.returncode}): {said[-1].replace(folder, '')[:200]}")
