"""`make bench`: how soon the command line answers."""

from __future__ import annotations

import subprocess
import sys

from timing import medians


def lines() -> list[str]:
    """The table for RESULTS.md."""
    asked = {
        "`scan2gene --help`": ["-m", "scan2gene.cli", "--help"],
        "`scan2gene run --help`": ["-m", "scan2gene.cli", "run", "--help"],
        "`import scan2gene`": ["-c", "import scan2gene"],
        "Python alone": ["-c", ""],
    }

    def start(words: list[str]) -> None:
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)

    seconds = medians(*(lambda w=words: start(w) for words in asked.values()))
    return [
        "| a process of its own | seconds |",
        "|---|---|",
        *(f"| {name} | {s:.2f} |" for name, s in zip(asked, seconds, strict=True)),
    ]


if __name__ == "__main__":
    print("\n".join(lines()))
