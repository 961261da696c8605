"""The contact sheet as data: what the page's script gets, and that the page is whole and closed."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import numpy as np
import pandas as pd
import pytest
from test_page import Page

from scan2gene.core.errors import ScanError
from scan2gene.core.volume import Volume
from scan2gene.report.sheet import Exam, Tile, excluded_rows, write_sheet

EVIL = "</script><script>alert(1)</script>"
NOTHING = pd.DataFrame(columns=["patient_id", "series_id", "reason"])


def tile(n: int, role: str = "t1", read=None, **changes) -> Tile:
    array = np.random.default_rng(n).random((24, 24, 24)).astype(np.float32)
    values = {"exam_id": f"E{n}", "role": role, "kind": "intensity", "series_id": f"S{n}", "sequence": "T1 POST"}
    values |= {"burned_in": "", "read": read or (lambda: Volume(array, np.eye(4))), "evidence": lambda: [n, role]}
    return Tile(**values | changes)


def exams(n: int) -> list[Exam]:
    return [Exam(f"E{k}", f"P{k // 2}", (f"S{k}", f"S{k}b")) for k in range(n)]


def data(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[1])


def sheet(tmp_path, tiles, excluded=NOTHING, n=4) -> tuple[str, dict[str, int]]:
    return write_sheet(
        "study", exams(n), tiles, excluded, tmp_path / "kept", lambda text: text.replace("Jane", "[name]")
    )


def test_the_page_is_whole_and_runs_its_own_script_only(tmp_path):
    html, _ = sheet(tmp_path, [tile(k) for k in range(4)])
    page = Page(re.sub(r"<script.*?</script>", "", html, flags=re.DOTALL))
    assert page.open == []
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "action", "data"):
                assert value.startswith("data:image/jpeg"), (tag, name)
    assert "url(" not in html and "@import" not in html and "http:" not in html
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    script = re.search(r"<script>(.*?)</script>", html, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert sum(t == "article" for t, _ in page.tags) == 4


def test_what_others_wrote_is_text(tmp_path):
    rows = pd.DataFrame([{"patient_id": "P9", "series_id": "", "reason": EVIL}])
    html, _ = sheet(tmp_path, [tile(0, sequence=EVIL)], rows)
    assert html.count("<script") == 2 and "alert(1)</script>" not in html
    assert data(html)["rows"][0]["reason"] == EVIL


def test_a_volume_that_cannot_be_read_is_shown_with_its_reason(tmp_path):
    def broken():
        raise ScanError("cut short, says Jane")

    def strange():
        raise ValueError("Jane")

    html, counts = sheet(tmp_path, [tile(0), tile(1, read=broken), tile(2, read=strange)])
    assert "cut short, says [name]" in html and "unreadable (ValueError)" in html
    assert "Jane" not in html
    assert counts["unreadable"] == 2
    assert [e["flags"] for e in data(html)["exams"]] == [[], ["unreadable"], ["unreadable"], []]


def test_pictures_are_made_once(tmp_path):
    first, _ = sheet(tmp_path, [tile(k) for k in range(3)])

    def never():
        raise AssertionError("read again")

    again, _ = sheet(tmp_path, [tile(k, read=never) for k in range(3)])
    assert again == first
    _, counts = sheet(tmp_path, [tile(0, read=never, evidence=lambda: "another file")])
    assert counts["unreadable"] == 1
    for path in (tmp_path / "kept").iterdir():
        path.write_text(path.read_text()[:50])  # a disk that ran full
    assert sheet(tmp_path, [tile(k) for k in range(3)])[0] == first


def test_three_hundred_exams_stay_below_fifteen_megabytes(tmp_path):
    noise = Volume(np.random.default_rng(0).random((96, 96, 96)).astype(np.float32), np.eye(4))  # packs worst
    tiles = [tile(k, role, lambda: noise, evidence=lambda: 1) for k in range(300) for role in ("t1", "t2", "flair")]
    html, _ = sheet(tmp_path, tiles, n=300)
    assert len(html) < 15e6


def test_rows_of_an_exclude_file_find_their_exams():
    rows = [("P0", "", "motion"), ("", "S3b", "artefact"), ("P7", "", "moved"), ("P1", "S2", "both")]
    found = excluded_rows(exams(4), pd.DataFrame(rows, columns=["patient_id", "series_id", "reason"]))
    assert [row["exams"] for row in found] == [[0, 1], [3], [], [2, 3]]
    assert [row["reason"] for row in found] == ["motion", "artefact", "moved", "both"]


@pytest.mark.parametrize("n", [0, 1])
def test_few_exams_are_a_page_too(n, tmp_path):
    html, _ = sheet(tmp_path, [tile(k) for k in range(n)], n=n)
    assert len(data(html)["exams"]) == n
