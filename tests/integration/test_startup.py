"""The command line answers at once: help loads nothing that only work needs."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

HEAVY = ("torch", "lightning_fabric", "monai", "pandas", "sklearn", "scipy", "matplotlib", "SimpleITK", "numba")
SECONDS = 0.5

ASKED = """
import sys
from scan2gene.cli import main
sys.argv = ["scan2gene", *sys.argv[1:]]
try:
    main()
except SystemExit as stop:
    print("exit", stop.code, *sorted({name.partition(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["store", "verify", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(words):
    done = subprocess.run([sys.executable, "-c", ASKED, *words], capture_output=True, text=True, check=True)
    _, code, *loaded = done.stdout.splitlines()[-1].split()
    assert (code, done.stderr) == ("0", "")
    assert "typer" in loaded
    assert [name for name in HEAVY if name in loaded] == []


def test_importing_the_package_loads_nothing_heavy():
    code = f"import scan2gene, sys; print([n for n in {HEAVY} if n in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_help_takes_less_than_half_a_second():
    """Processor seconds, the best of three: what else runs on the machine does not count."""
    spent = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "scan2gene.cli", "--help"], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(spent) < SECONDS
