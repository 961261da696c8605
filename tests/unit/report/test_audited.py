"""The verdict stands first on the page, in words; the audit has every figure behind it."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from tests.unit.report.fake_run import EVIL, PATIENTS, write_run

from scan2gene.report.audited import audit, verdicts
from scan2gene.report.inputs import read_inputs
from scan2gene.report.page import make_report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("audited"))


def test_every_target_has_its_verdict_before_any_table(run):
    html = make_report(*run).html
    answer = html[html.index('id="answer"') :]
    before = re.sub(r"<[^>]+>", "", answer[: answer.index("<table>")])
    assert re.search(r"idh: (better than chance|not distinguishable|a shortcut|below chance)", before)
    assert "rare: cannot be estimated" in before
    assert "Not told: images." in before
    assert EVIL not in html
    assert not any(patient in html for patient in PATIENTS)


def test_the_audit_lists_networks_baselines_and_groups(run):
    found = audit(read_inputs(*run))
    rows = [row["what"] for table in found["tables"] if table["target"] == "idh" for row in table["rows"]]
    assert "net, the scans as they are" in rows
    assert "scanner, site, scan settings, header fields and names alone, beside net" in rows
    assert any(group["of"].startswith("site") for t in found["tables"]
               for group in t["groups"])  # fmt: skip
    assert {c["says"] for c in found["checks"]} == {"nothing found", "not told"}


def test_a_run_that_was_not_audited_has_its_page_too(run, tmp_path):
    inputs = replace(read_inputs(*run), out=tmp_path)
    assert verdicts(inputs) == []
    assert audit(inputs) == {"checks": [], "summary": "", "tables": [], "named": []}
