"""Figures of too few patients stand nowhere on the page, and the reason does."""

from __future__ import annotations

import pandas as pd
from fake_run import write_run

from scan2gene.core.tables import read_csv, write_csv
from scan2gene.report.page import make_report


def test_sides_of_four_patients_have_no_figure_in_any_table_or_plot(tmp_path):
    study, out, stores = write_run(tmp_path)
    metrics = read_csv(out / "metrics.csv")
    idh = metrics["target"] == "idh"
    known = metrics.loc[idh & (metrics["metric"] == "auroc"), "value"].dropna().tolist()
    assert known
    metrics.loc[idh, ["n", "n_units", "n_rarer_patients"]] = 8, 40, 4  # sides of eight patients
    write_csv(out / "metrics.csv", metrics)
    report = make_report(study, out, stores)
    for split in ("cv", "sites"):
        for name in (f"models-{split}-idh", f"metrics-{split}-idh", f"auroc-{split}"):
            printed = report.tables[name].printed
            assert "not estimated" in printed.to_string()
            assert not any(f"{value:.3f} (" in printed.to_string() for value in known)
    assert not [n for n in report.tables if n in ("comparisons", "auroc-by-fold", "confusion", "calibration")]
    assert "ROC curve of net, idh" not in report.html
    assert "the rarer class has sides of 4 patients" in report.html
    assert "is better than chance" not in report.html
    values = pd.to_numeric(report.tables["metrics"].csv.loc[idh.to_numpy(), "value"])
    assert values.isna().all()
