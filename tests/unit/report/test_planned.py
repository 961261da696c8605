"""The plan on the page: what was chosen and why, and what the patients can show."""

from __future__ import annotations

import pandas as pd
from fake_run import write_run

from scan2gene.core.files import write_json
from scan2gene.core.tables import write_csv
from scan2gene.evaluate.power_tables import power_table
from scan2gene.report.page import make_report
from scan2gene.report.planned import choices


def test_the_plan_stands_on_the_page_and_beside_it(tmp_path):
    study, out, stores = write_run(tmp_path)
    counts = pd.DataFrame(
        [{"split": "cv", "repeat": 0, "fold": f, "target": "rare", "class": c, "unit": "patient",
          "train": 30, "validation": 6, "test": n, "all": 40}
         for f in (0, 1) for c, n in (("positive", 2), ("negative", 18))]
    )  # fmt: skip
    write_csv(out / "power.csv", power_table(counts, ["rare"]))
    steps = [{"name": "resize", "options": {"shape": [8, 8, 8]}}, {"name": "min_max_uint8"}]
    plan = {"chosen": {"preprocess": steps, "data.batch_size": 4}, "why": {
        "preprocess": "nine in ten bodies <fit>", "data.batch_size": "40 patients"}}  # fmt: skip
    write_json(out / "plan.json", plan)
    report = make_report(study, out, stores)
    assert "rare cannot be estimated in split cv, because 4 of 40 are positive, and below 6" in report.html
    assert "resize shape=[8, 8, 8], min_max_uint8" in report.html
    assert "nine in ten bodies &lt;fit&gt;" in report.html
    assert report.tables["power"].csv["positive"].tolist() == [4]
    assert choices(plan)[1] == ("data.batch_size", "4", "40 patients")
