"""What the product answers is what it answered: see make.py for what to do where this fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.golden.studies import STUDIES

ROOT = Path(__file__).parents[2]
MARKS = {name: [pytest.mark.slow] if study.slow else [] for name, study in STUDIES.items()}


@pytest.fixture(scope="module")
def changed(request) -> dict[str, str]:
    """What changed, by study: one process for all that are wanted, since other tests change how a process rounds."""
    wanted = [
        i.callspec.params["name"] for i in request.session.items if i.path == request.path and hasattr(i, "callspec")
    ]
    wanted = [n for n in STUDIES if n in wanted]
    done = subprocess.run(
        [sys.executable, "-m", "tests.golden.make", "--check", *wanted], cwd=ROOT, env=os.environ, capture_output=True,
        text=True,
    )  # fmt: skip
    if done.returncode not in (0, 1) or not done.stdout:
        pytest.fail(done.stdout + done.stderr)
    blocks: dict[str, list[str]] = {}
    for line in done.stdout.splitlines()[:-1]:
        if not line.startswith(" "):
            name = line.split("/")[0]
        blocks.setdefault(name, []).append(line)
    return {name: "\n".join(lines) for name, lines in blocks.items()}


@pytest.mark.parametrize("name", [pytest.param(n, marks=MARKS[n]) for n in STUDIES])
def test_figures_are_those_of_the_golden_tables(name, changed, request):
    if STUDIES[name].real:
        request.getfixturevalue("shared_data")
    assert name not in changed, changed[name]
