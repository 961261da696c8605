"""A toy cohort to curate."""

from __future__ import annotations

import pandas as pd
import pytest
from toy import LABELS, ROLES

from scan2gene.cohorts.curate import Curated, curate
from scan2gene.core.study import Study
from scan2gene.imaging.index import SERIES_COLUMNS


@pytest.fixture
def go(tmp_path):
    """`go(rows, labels=..., **cohort)` curates a small study of IDH with roles t1 and flair."""

    def run(rows, labels: str | None = LABELS, targets: dict | None = None, label_file=None, **cohort) -> Curated:
        table = tmp_path / "labels.csv" if label_file is None else label_file
        if label_file is None:
            table.write_text(labels)
        rules = {
            "scans": ["/scans"],
            "labels": list(map(str, table)) if isinstance(table, list) else str(table),
            "roles": ROLES,
        } | cohort
        study = Study.model_validate(
            {
                "name": "toy",
                "question": "?",
                "cohort": rules,
                "targets": targets or {"IDH": {}},
                "runs": [{"name": "a", "model": {"name": "light_cnn"}}],
            }
        )
        return curate(
            study, pd.DataFrame(rows, columns=list(dict.fromkeys([*SERIES_COLUMNS, *(k for r in rows for k in r)])))
        )

    return run
