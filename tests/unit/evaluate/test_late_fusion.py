"""Weights of late fusion, used on new exams."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scan2gene.evaluate.stacking import WEIGHT_COLUMNS, late_applied


def test_new_exams_are_fused_by_the_weights_that_were_learned():
    base = {"split": "cv", "repeat": 0, "fold": 0, "part": "apply", "variant": "original", "site": "", "side": "",
            "unit": "exam", "target": "IDH", "label": "positive", "y_true": np.nan}  # fmt: skip
    logits = {"flair": [2.0, 1.0, np.nan, 3.0], "t1c": [-1.0, np.nan, np.nan, 1.0]}
    status = {"flair": ["ok", "ok", "failed", "ok"], "t1c": ["ok", "refused", "failed", "failed"]}
    rows = [
        base | {"run_id": run, "patient_id": f"P{n}", "exam_id": f"E{n}", "unit_id": f"E{n}", "logit": z, "prob": z,
                "status": s, "reason": "" if s == "ok" else f"{run} {s}"}
        for run in logits
        for n, (z, s) in enumerate(zip(logits[run], status[run], strict=True))
    ]  # fmt: skip
    rows[-1]["logit"] = np.nan  # E3 has no t1c
    weights = [("both", "cv", "0", "0", "IDH", None, m, w, 3, "") for m, w in (("flair", 0.75), ("t1c", 0.25))]
    told = pd.DataFrame(weights, columns=list(WEIGHT_COLUMNS))
    found = late_applied(pd.DataFrame(rows), {"both": ["flair", "t1c"], "other": ["flair", "gone"]}, told)
    found = found.set_index("exam_id")
    assert set(found["run_id"]) == {"both"} and set(found["variant"]) == {"late fusion"}
    assert found["status"].to_dict() == {"E0": "ok", "E1": "refused", "E2": "failed", "E3": "ok"}
    assert found.loc["E0", "logit"] == pytest.approx(0.75 * 2 - 0.25)
    assert found.loc["E3", "logit"] == pytest.approx(3.0)  # the only answer counts
    assert found.loc[["E1", "E2"], "logit"].isna().all() and found.loc["E1", "reason"] == "t1c refused"
