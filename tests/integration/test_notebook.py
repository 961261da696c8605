"""The example notebook runs, cell by cell, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "example.ipynb"

# As a kernel does: cells share their names, and a cell's last expression is shown.
KERNEL = """
import ast, json, sys

sys.modules["umap"] = None  # it compiles for longer than all cells take; maps are then by PCA
shared = {"__name__": "__main__"}
for number, cell in enumerate(json.load(open(sys.argv[1], encoding="utf-8"))["cells"]):
    if cell["cell_type"] == "code":
        tree = ast.parse("".join(cell["source"]), f"cell {number}")
        last = ast.Expression(tree.body.pop().value) if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), shared)
        shown = eval(compile(last, f"cell {number}", "eval"), shared) if last else None
        if shown is not None:
            print(shown)
"""


def test_the_example_notebook_runs_to_its_figure_and_report(tmp_path):
    kept = 'shared["figure"].savefig("figure.png")\n'
    words = [sys.executable, "-c", KERNEL + kept, str(NOTEBOOK)]
    done = subprocess.run(
        words, cwd=tmp_path, env=os.environ | {"TMPDIR": str(tmp_path), "MPLBACKEND": "Agg"},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (report,) = tmp_path.glob("scan2gene-*/run/report.html")
    assert done.stdout.splitlines()[-1] == f"the report, one offline page: {report}"
    assert "no reader can exceed an expected AUROC of 0.961" in done.stdout
    assert "smallest AUROC told from chance" in done.stdout
    assert "light-lesion" in done.stdout
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_the_notebook_is_kept_without_outputs():
    cells = [c for c in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code"]
    assert cells
    assert all(c["outputs"] == [] and c["execution_count"] is None for c in cells)
