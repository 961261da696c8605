"""What steps noted about exams, as the report counts it."""

from __future__ import annotations

import pandas as pd

from scan2gene.preprocess.skull_strip import SIMPLE
from scan2gene.report.making import _step_notes


def test_notes_are_counted_by_exam_and_figures_give_way_to_the_largest():
    moved = "register: a sequence moved by {} mm and {} degrees"
    notes = {
        "a": f"{moved.format('1.5', '0.2')}; {moved.format('0.3', '2.4')}; {SIMPLE}",
        "b": f"{moved.format('4.0', '0.1')}; skull_strip: by hd-bet",
        "c": "",
        "d": None,
    }
    rows = [{"exam_id": exam, "role": role, "note": note} for exam, note in notes.items() for role in ("t1", "flair")]
    assert _step_notes(pd.DataFrame(rows)) == [
        ("register: a sequence moved by at most 4 mm and at most 2.4 degrees", 2),
        (SIMPLE, 1),
        ("skull_strip: by hd-bet", 1),
    ]


def test_stores_without_notes_have_none():
    ready = pd.DataFrame({"exam_id": ["a"], "role": ["t1"]})
    assert _step_notes(ready) == []
    assert _step_notes(ready.assign(note="")) == []
