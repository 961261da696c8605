"""What the console says of a finished run agrees with its report."""

from __future__ import annotations

import json

import pandas as pd

from scan2gene.cli.tables import print_results
from scan2gene.core.tables import METRIC_COLUMNS, write_csv


def test_what_the_report_does_not_judge_has_no_auroc_on_the_console(tmp_path, capsys):
    base = dict.fromkeys(METRIC_COLUMNS, "") | {"split": "cv", "variant": "original", "metric": "auroc", "n": 18,
                                                "n_units": 18, "value": 0.71, "low": 0.4, "high": 0.9}  # fmt: skip
    rows = [base | {"run_id": run, "target": t, "n_positive": n} for run in "ab" for t, n in (("EGFR", 5), ("IDH", 8))]
    write_csv(tmp_path / "metrics.csv", pd.DataFrame(rows, columns=list(METRIC_COLUMNS)))
    (tmp_path / "study.json").write_text(json.dumps({"runs": [{"name": "a"}, {"name": "b"}]}))
    print_results(tmp_path)
    told = capsys.readouterr().out
    assert told.count("0.710") == 2  # of IDH alone
    assert told.count("cannot be estimated") == 2
    assert told.count("5 of 18 are positive") == told.count("as above") == 1


def test_the_study_s_answer_comes_first_on_the_console(tmp_path, capsys):
    base = dict.fromkeys(METRIC_COLUMNS, "") | {"split": "cv", "variant": "original", "metric": "auroc", "n": 40,
                                                "n_units": 40, "n_positive": 20, "target": "IDH", "value": 0.71,
                                                "low": 0.6, "high": 0.9}  # fmt: skip
    rows = [base | {"run_id": run} for run in ("clinical", "image", "best")]
    write_csv(tmp_path / "metrics.csv", pd.DataFrame(rows, columns=list(METRIC_COLUMNS)))
    (tmp_path / "study.json").write_text(json.dumps({"runs": [{"name": row["run_id"]} for row in rows]}))
    print_results(tmp_path)
    told = capsys.readouterr().out
    assert told.index("best") < told.index("clinical") < told.index("image")
