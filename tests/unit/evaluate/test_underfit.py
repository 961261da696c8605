"""What looks wrong about training is said, and only that."""

from __future__ import annotations

import pandas as pd
import pytest

from scan2gene.evaluate.underfit import training_aurocs, training_findings


def _histories(kept, epochs, learned=0.99, last_rate=1e-3):
    """Five fits of one run, with the epoch kept of each."""
    for fold, best in enumerate(kept):
        rows = []
        for n in range(1, epochs + 1):
            final = learned if n == best else None
            rows.append({"epoch": n, "best": int(n == best), "learning_rate": 1e-3, "train_auroc:gene": 0.5,
                         "last_rate": last_rate if n == epochs else 1e-3, "final_train_auroc": final,
                         "final_train_auroc:gene": final})  # fmt: skip
        yield "net", {"split": "cv", "repeat": 0, "fold": fold}, pd.DataFrame(rows)


FEW = {("cv", 0, fold): 13 for fold in range(5)}
MANY = {("cv", 0, fold): 60 for fold in range(5)}


@pytest.mark.parametrize(("histories", "validation", "schedule", "kinds"), [
    (_histories([30] * 5, 30), {}, "one_cycle", []),
    (_histories([30] * 5, 30, last_rate=4e-9), {}, "one_cycle", []),  # it falls by design
    (_histories([30] * 5, 30, learned=0.66), {}, "one_cycle", ["undertrained"]),
    (_histories([32, 3, 7, 5, 22], 40), FEW, "plateau", ["stopped by noise"]),
    (_histories([32, 3, 7, 5, 22], 40), MANY, "plateau", []),
    (_histories([32, 33, 37, 35, 22], 40), FEW, "plateau", []),
    (_histories([30] * 5, 30, learned=0.8, last_rate=1e-6), FEW, "plateau", ["rate collapsed"]),
    (_histories([30] * 5, 30, learned=0.95, last_rate=1e-6), FEW, "plateau", []),
])  # fmt: skip
def test_what_looks_wrong_is_found(histories, validation, schedule, kinds):
    found = training_findings(histories, validation, {"net": schedule})
    assert [f.kind for f in found] == kinds
    assert all(f.sentence.endswith(".") and f.cases for f in found)


def test_the_auroc_in_training_is_that_of_evaluation_where_it_is_kept():
    assert training_aurocs(_histories([3, 4], 5, learned=0.9)) == {("net", "cv", "gene"): 0.9}


def test_histories_of_older_versions_say_nothing():
    old = pd.DataFrame({"epoch": [1], "best": [1], "learning_rate": [0.1], "validation_loss": [0.6]})
    assert training_findings([("net", {"split": "cv", "repeat": 0, "fold": 0}, old)], FEW, {}) == []
