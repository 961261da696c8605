"""What checklists and cards say of sites: inside, left out in turn, and kept out of development."""

from __future__ import annotations

from typing import Any

from scan2gene.core.tables import EXTERNAL
from scan2gene.core.text import clauses, estimate_text, listed, number_text, p_text
from scan2gene.evaluate.domain_shift import NAMES, TOGETHER
from scan2gene.report.known import MOST, Known, figures_of, group_rows, spread_of
from scan2gene.report.methods_tests import read_audit
from scan2gene.report.statements import Statement
from scan2gene.stats.intervals import Estimate


def clusters(known: Known) -> Statement | None:
    """AUROC by site or scanner, where there are several that are large enough."""
    rows = [r for r in group_rows(known.inputs) if r["of"].partition(":")[0] in ("site", "scanner")]
    told = [f"{r['target']}, {r['run']}, {known.inputs.hide(r['of'])}: {spread_of(r)}" for r in rows]
    return Statement("clusters", f"AUROC within {clauses(told, MOST)}.", "audit.json, shortcuts") if told else None


def by_site(known: Known) -> Statement | None:
    """How networks did at sites that were left out in turn."""
    names = [s.name for s in known.inputs.study.splits if s.kind == "leave_one_site_out"]
    only = {k: v for k, v in known.scores.items() if k[1] in names}
    return figures_of(Known(known.inputs, known.told, only), ("auroc",)) if only else None


def external(known: Known) -> Statement | None:
    """How runs did at sites that were kept out of development."""
    splits = [s for s in known.inputs.study.splits if s.external]
    if not splits:
        return None
    rows = [r for r in read_audit(known.inputs).get("transfer", []) if r["kind"] == EXTERNAL]
    if not rows:
        sites = listed([known.inputs.hide(name) for s in splits for name in s.external])
        text = f"Patients of {sites} were kept out of development and predicted; their figures were not computed."
        return Statement("external", text, "study.yaml, splits.external; split.csv")
    told = clauses((_outside(known, r) for r in rows), MOST, "figure")
    return Statement("external", f"At sites kept out of development: {told}.", "audit.json, transfer")


def _outside(known: Known, row: dict[str, Any]) -> str:
    what = f"{row['target']}, {row['run']}, {known.inputs.hide(row['where'])}: AUROC"
    if row["outside"] is None:
        return f"{what} cannot be estimated, because {known.inputs.hide(row['outside_reason'])}"
    found = Estimate(row["outside"], row["outside_low"], row["outside_high"])
    inside = "" if row["inside"] is None else f", inside {number_text(row['inside'])}"
    units = row.get("units_outside", row["n_outside"])
    sides = f" with {units:,} sides" if units != row["n_outside"] else ""
    who = f"{row['n_outside']:,} patients{sides}, {row['positive_outside']:,} positive"
    return f"{what} {estimate_text(found)}, {who}{inside}"


def shifted(known: Known) -> Statement | None:
    """By what patients of external sites are told from those of development."""
    rows = read_audit(known.inputs).get("shift", [])
    told = [f"{r['what']}, {r['split']}: {known.inputs.hide(r['outside'])}, inside {known.inputs.hide(r['inside'])}"
            for r in rows if r["kind"] == "label" and r["value"] is not None]  # fmt: skip
    told += [f"{NAMES[r['kind']]}, {r['split']}: a rule that is to tell external patients from the others has an AUROC "
             f"of {number_text(r['value'])} ({p_text(r['p'])})"
             for r in rows if r["measure"] == TOGETHER and r["value"] is not None]  # fmt: skip
    return Statement("shift", f"Outside and inside: {'; '.join(told)}.", "audit.json, shift") if told else None


def internal(known: Known) -> Statement | None:
    """That test patients come from the same cohort."""
    names = [s.name for s in known.inputs.study.splits if s.kind != "leave_one_site_out"]
    text = f"Test patients of {listed(names)} are of the same cohort as those of training."
    return Statement("internal", text, "study.yaml, splits; split.csv") if names else None
