"""Processes of their own that start at once: forked from one that has imported what is slow to import.

They are as apart from the tests as a new interpreter is, which takes four seconds of imports to get so far.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["torch.optim.swa_utils", "lightning_fabric", "sklearn.linear_model", "matplotlib.figure", "pydicom", "optuna",
     "rich.table", "scan2gene.cli", "scan2gene.stages.pipeline", "scan2gene.commands.apply", "scan2gene.commands.qc",
     "scan2gene.preprocess.store", "scan2gene.report.page", "scan2gene.train.loop"]
)  # fmt: skip


def start(said: Path, function: Callable[..., object], *arguments: object) -> BaseProcess:
    """A process that calls a function of a module; what it writes to the console stands in the file `said`."""
    process = CONTEXT.Process(target=_speak, args=(said, function, arguments))
    process.start()
    return process


def command(*words: object) -> tuple[int | None, str]:
    """Exit status of `scan2gene WORDS`, and all that stands on the console, warnings too."""
    with TemporaryDirectory() as folder:
        said = Path(folder) / "said"
        process = start(said, command_line, *map(str, words))
        process.join(300)
        process.kill()
        return process.exitcode, said.read_text()


def command_line(*words: str) -> None:
    """The command line, in the process that calls it."""
    from scan2gene.cli import main

    sys.argv = ["scan2gene", *words]
    main()


def _speak(said: Path, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, sys.stdout.fileno())
    os.dup2(file, sys.stderr.fileno())
    warnings.simplefilter("always")
    function(*arguments)
