"""A brain cohort without any signal must not be called better than chance."""

from __future__ import annotations

import pandas as pd

import scan2gene
from tests.integration.road import phantom_study

EPOCHS = 20  # with as many, test_planted finds a planted signal


def test_nothing_is_found_where_nothing_is(tmp_path):
    study = phantom_study(tmp_path, 50, effect=0.0, organ="brain", seed=3, epochs=EPOCHS)
    out = scan2gene.run(study, tmp_path / "run")
    metrics = pd.read_csv(out / "metrics.csv")
    auroc = metrics[metrics["metric"] == "auroc"].set_index("run_id")
    assert set(auroc.index) == {"light-lesion", "age"}
    assert (auroc["low"] < 0.5).all()
    page = (out / "report.html").read_text()
    assert "not distinguishable from chance" in page
