"""`make results`: the runs behind docs/results/, on real and on synthetic patients, written as they came out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd

import scan2gene
from scan2gene.core.files import write_text
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study, study_hash
from scan2gene.core.study_file import load_study
from scan2gene.report.planned import choices
from scan2gene.stats.power import too_few

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
DATA = ROOT.parent / "shared" / "data"


def real_study(name: str, minutes: float | None = None) -> None:
    """Run a study of a real cohort; its table and training summary go to docs/results/."""
    path = ROOT / "studies" / f"{name}.yaml"
    out = scan2gene.run(load_study(path), ROOT / "runs" / name, minutes=minutes)
    study = Study.model_validate(json.loads((out / "study.json").read_text()))  # with what was planned
    metrics = pd.read_csv(out / "metrics.csv")
    metrics.round(4).to_csv(RESULTS / f"{name}-metrics.csv", index=False)
    auroc = metrics[metrics["metric"] == "auroc"]
    plain = auroc[auroc["variant"] == "original"]
    lines = [
        f"# {study.name}: {study.question}",
        "",
        f"Written by `make results` from `studies/{name}.yaml` (scan2gene {scan2gene.__version__}, study hash",
        f"`{study_hash(study)}`, seed {study.seed}).",
        "AUROC with 95 % BCa patient-bootstrap interval on test patients; within-fold pairs only. Nothing is adjusted",
        f"for the {len(plain)} comparisons but in the verdicts. All metrics: `{name}-metrics.csv`.",
        "",
        *_planned(out),
        "## Verdicts",
        "",
    ]
    for verdict in json.loads((out / "verdicts.json").read_text(encoding="utf-8")):
        lines += [f"**{verdict['target']}: {verdict['headline']}.** {' '.join(verdict['sentences'])}", ""]
    for split in [s.name for s in study.splits]:
        lines += _of_split(auroc[auroc["split"] == split], split, study)
    lines += _training(out, [r.name for r in study.runs])
    write_text(RESULTS / f"{name}.md", "\n".join(lines) + "\n")


def _of_split(auroc: pd.DataFrame, split: str, study: Study) -> list[str]:
    """A table of runs and targets; the ways of fusing slices below, and slices themselves apart."""
    names = list(study.targets)
    counts = auroc[auroc["variant"] == "original"].drop_duplicates("target").set_index("target")
    head = " | ".join(f"{t} ({counts.loc[t, 'n_positive']}/{counts.loc[t, 'n']})" for t in names)
    row = auroc.set_index(["run_id", "variant", "target"])
    variants = {r.name: list(dict.fromkeys(auroc.loc[auroc["run_id"] == r.name, "variant"])) for r in study.runs}
    few = {t: "cannot be estimated" for t in names if too_few(counts.loc[t, "n_positive"], counts.loc[t, "n"])}
    lines = [f"## Split `{split}`", "", f"| run | {head} |", "|---|" + "---|" * len(names)]
    for run in variants:
        lines.append(
            f"| {run} | " + " | ".join(few.get(t) or _cell(row.loc[(run, "original", t)]) for t in names) + " |"
        )
    others = [(r, v) for r, found in variants.items() for v in found if v not in ("original", "slice level")]
    if others:
        lines += ["", "The same networks, otherwise fused or predicted:", ""]
        lines += [f"| run | way | {head} |", "|---|---|" + "---|" * len(names)]
        lines += [
            f"| {r} | {v} | " + " | ".join(few.get(t) or _cell(row.loc[(r, v, t)]) for t in names) + " |"
            for r, v in others
        ]
    sliced = [r for r, found in variants.items() if "slice level" in found]
    if sliced:
        lines += [
            "",
            "Slice level, where units are slices and not patients; not for comparison with the tables above:",
            "",
        ]
        lines += [f"| run | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
        lines += [
            f"| {r} | " + " | ".join(few.get(t) or _cell(row.loc[(r, "slice level", t)]) for t in names) + " |"
            for r in sliced
        ]
    return [*lines, ""]


def _planned(out: Path) -> list[str]:
    """What was chosen for the study, and why, and what did not fit into its time."""
    planned = json.loads((out / "plan.json").read_text(encoding="utf-8"))
    lines = [f"- {key}: {value} ({why})" for key, value, why in choices(planned)]
    budget = RunDirectory(out).budget.read({})
    lines += [f"- {run} is left out of the {budget['minutes']:g} minutes: {why}"
              for run, why in budget.get("left_out", {}).items()]  # fmt: skip
    return ["## Chosen by the plan", "", *lines, ""] if lines else []


def _cell(row: pd.Series) -> str:
    if pd.isna(row["value"]):
        return str(row["reason"])
    return f"{row['value']:.2f} ({row['low']:.2f}-{row['high']:.2f})" if pd.notna(row["low"]) else f"{row['value']:.2f}"


def _training(out: Path, order: list[str]) -> list[str]:
    lines = ["## Training", "", "| run | fits | best epochs | seconds in all |", "|---|---|---|---|"]
    for run in order:
        histories = [pd.read_csv(p) for p in sorted((out / "experiments" / run).glob("*/history.csv"))]
        stamps = [json.loads(p.read_text()) for p in sorted((out / "stages").glob(f"train__{run}__*.json"))]
        best = ", ".join(str(int(h.loc[h["best"] == 1, "epoch"].max())) for h in histories) or "no epochs"
        lines.append(f"| {run} | {len(stamps)} | {best} | {sum(s['seconds'] for s in stamps):.0f} |")
    return lines


def gbm_exam() -> None:
    """Check one DICOM exam from index to prepared volume."""
    from gbm_exam import compare, markdown

    write_text(RESULTS / "gbm-exam.md", markdown(compare(DATA / "tcia_brain_tumor_progression_dicom")))


def cam() -> None:
    """Score maps on synthetic patients with a planted lesion."""
    from cam_phantom import cam_phantom

    write_text(RESULTS / "cam.md", cam_phantom())


def index_all() -> None:
    """Index every folder of real data."""
    from index_all import page

    write_text(RESULTS / "index.md", page(DATA))


def planted_and_null() -> None:
    """Twenty cohorts with a planted signal and twenty without."""
    import seeds

    seeds.main(list(seeds.EFFECTS))


def null_tables() -> None:
    """Tables of features that tell nothing, through the planned models and means."""
    import null_tables as of_tables

    of_tables.main()


def intervals() -> None:
    """How often reported intervals hold the truth."""
    import interval_coverage

    interval_coverage.main()


def transferred() -> None:
    """A start from a network of our own, on another cohort."""
    from transfer import transfer

    transfer()


def brca() -> None:
    """The nine rows of the BRCA recipe on a synthetic cohort, with stand-ins for released weights."""
    import brca_rows

    brca_rows.main()


def gbm() -> None:
    """The ten networks of the GBM recipe on a synthetic cohort."""
    import gbm_rows

    gbm_rows.main()


def scanners() -> None:
    """Real images on simulated scanners, one of them external, and what is to help there."""
    import scanners as of_scanners

    of_scanners.main()


def radiomics() -> None:
    """A public table of radiomics: one target that they tell and one that they do not."""
    import ucsf_radiomics

    ucsf_radiomics.main()


def schedules() -> None:
    """Schedules side by side, and a search over them."""
    from schedules import main

    main()


if __name__ == "__main__":
    intervals()
    null_tables()
    planted_and_null()  # synthetic, so before the real data is asked for
    brca()
    gbm()
    schedules()
    if not DATA.is_dir():
        sys.exit(f"the real data is not at {DATA.name}; `make results` needs ../shared/data beside the repository")
    index_all()
    gbm_exam()
    cam()
    real_study("tcga-lgg")
    real_study("tcga-lgg-planned", minutes=1)  # models on tables alone; its networks take half an hour
    real_study("tcga-lgg-slices")
    real_study("breast-phases", minutes=20)
    radiomics()
    scanners()
    transferred()
