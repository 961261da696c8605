"""Golden tables: what the product answers on small studies, kept so that a rebuilt inside can be held against it.

After every step of a change that is to move no figure:

    python -m tests.golden.make --check                 # all but the slow ones, some 40 s
    python -m tests.golden.make --check volumes slices  # some of them
    python -m tests.golden.make --check --slow          # the demo too, minutes

Nothing is written; every changed table is listed with its rows and the largest difference, and the exit code is 1.
`pytest tests/golden` does the same. Where a figure is meant to change, say so in CHANGELOG.md under "Results changed",
then make the tables anew and commit them with the change:

    python -m tests.golden.make volumes                 # writes tests/golden/volumes/*.csv and says what changed

Predictions of trained networks are compared bit by bit on the machine on which the tables were made (`machine.json`).
On another one they are compared within `tables.OTHER_MACHINE`, and figures that rest on their ranks are not. To compare
bit by bit there, keep tables of the commit before the change, and compare with those:

    git stash; python -m tests.golden.make --slow --tables /tmp/before; git stash pop
    python -m tests.golden.make --check --tables /tmp/before

`studies.py` has the studies, `tables.py` the tables: only what users rely on is read, so a renamed or moved function
changes nothing here. A file of the run directory that gets another form needs another reader in `tables.py`, and no new
golden table. Every process has one thread, umap-learn counts as not installed, and no previews are drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
HERE = Path(__file__).parent
DATA = HERE.parents[2] / "shared" / "data"


@dataclass(frozen=True)
class Change:
    """What differs in one table of a study."""

    study: str
    table: str
    lines: list[str]


def one_thread() -> None:
    """Start this program anew with one thread: libraries ask for their number of threads when they are loaded."""
    if any(os.environ.get(name) != "1" for name in THREADS):
        os.environ.update(dict.fromkeys(THREADS, "1"))
        os.execv(sys.executable, [sys.executable, "-m", "tests.golden.make", *sys.argv[1:]])
    sys.modules["umap"] = None  # type: ignore[assignment]


def machine() -> dict[str, str]:
    """What decides how figures of networks round."""
    import numpy
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        import platform

        model = platform.machine()
    return {
        "processor": model, "capability": torch.backends.cpu.get_cpu_capability(), "torch": torch.__version__,
        "numpy": numpy.__version__,
    }  # fmt: skip


def make(names: Sequence[str], tables: Path, check: bool, keep: Path | None = None) -> list[Change]:
    """Do studies, compare their figures with the golden tables, and write these anew unless they are only checked.

    Args:
        names: Keys of `STUDIES`.
        tables: Folder of the golden tables.
        check: Write nothing.
        keep: A new folder for the run directories; else they are deleted.
    """
    import pandas as pd

    from scan2gene.preprocess import preview
    from tests.golden.studies import STUDIES, Bench
    from tests.golden.tables import TABLES, differences, golden_form

    preview.write_previews = lambda *_: []  # half a second each, and no table holds one
    now = machine()
    known = json.loads((tables / "machine.json").read_text()) if (tables / "machine.json").exists() else now
    changes = []
    with tempfile.TemporaryDirectory(prefix="golden-") as place:
        bench = Bench((keep or Path(place)).resolve(), DATA if DATA.is_dir() else None)
        hide = {f"{bench.root}/": "", str(bench.data): "data"}
        for name in names:
            study = STUDIES[name]
            begun = time.process_time()
            folder = bench.study(name)
            print(f"{name}: {time.process_time() - begun:.1f} s", flush=True)
            for kind in study.tables:
                path = tables / name / f"{kind}.csv"
                new = golden_form(TABLES[kind], folder, hide)
                if not path.exists():
                    lines = [f"new, {len(new)} rows"]
                else:
                    kept = pd.read_csv(path, dtype=str, keep_default_na=False)
                    lines = differences(TABLES[kind], kept, new, known == now, study.learned)
                    if lines and kind == "steps" and (moved := _moved(kept, new)):
                        lines.append(f"raise VERSION in the file of the step first: {', '.join(moved)}")
                        new = kept  # a store that was made before would count as made by the changed step
                if lines:
                    changes.append(Change(name, kind, lines))
                if lines and not check:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    new.to_csv(path, index=False, lineterminator="\n")
    if not check:
        tables.mkdir(parents=True, exist_ok=True)
        (tables / "machine.json").write_text(json.dumps(now, indent=1) + "\n")
    return changes


def _moved(kept: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """Cases of preprocessing steps whose voxels moved while the VERSION of the step stayed."""
    from tests.golden.tables import TABLES, differences

    if "version" not in kept:
        return []
    versions = kept.set_index("case")["version"]
    moved = []
    for case, version in zip(new["case"], new["version"], strict=True):
        rows = [table[table["case"] == case] for table in (kept, new)]
        if versions.get(case) == str(version) and differences(TABLES["steps"], *rows, False, False):
            moved.append(case)
    return moved


def main() -> int:
    """The command line; see the top of this file."""
    from tests.golden.studies import STUDIES

    parser = argparse.ArgumentParser(prog="python -m tests.golden.make", description="Golden tables; see make.py.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)}; default: all")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("--slow", action="store_true", help="the slow studies too")
    parser.add_argument("--tables", type=Path, default=HERE, help="folder of the golden tables")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new folder in which the run directories are left")
    given = parser.parse_args()
    unknown = [n for n in given.names if n not in STUDIES]
    if unknown:
        parser.error(f"{unknown[0]} is not known; valid: {', '.join(STUDIES)}")
    names = given.names or [n for n, s in STUDIES.items() if given.slow or not s.slow]
    absent = [n for n in names if STUDIES[n].real and not DATA.is_dir()]
    changes = make([n for n in names if n not in absent], given.tables, given.check, given.keep)
    for change in changes:
        print(f"{change.study}/{change.table}.csv")
        for line in change.lines:
            print(f"    {line}")
    left = f"; not done, since the real data is not there: {', '.join(absent)}" if absent else ""
    print(f"{len(names) - len(absent)} studies, {len(changes)} tables changed{left}")
    return 1 if changes and given.check else 0


if __name__ == "__main__":
    one_thread()
    raise SystemExit(main())
