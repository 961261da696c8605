"""One offline HTML page about a finished run.

Only files of the run directory are read. Nothing on the page loads anything, names a
patient or tells where on a machine the data lay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scan2gene.core.leakage import stamp_of
from scan2gene.core.study import Study
from scan2gene.report import acquisition, audited, beside, cases, cohort, making, models_table, panels, repeat, results
from scan2gene.report.across import across
from scan2gene.report.beside import Report
from scan2gene.report.burned_in import burned_in
from scan2gene.report.characteristics import characteristics
from scan2gene.report.embeddings import embedding_maps, neighbours
from scan2gene.report.inputs import fitting_patients, read_inputs
from scan2gene.report.looking import looking
from scan2gene.report.more_tables import more_tables
from scan2gene.report.outside import outside
from scan2gene.report.paper import paper
from scan2gene.report.planned import planned
from scan2gene.report.searched import searched
from scan2gene.report.tables import tables
from scan2gene.report.templates import environment
from scan2gene.report.use import use
from scan2gene.tasks.run_config import resolved

SECTIONS = (
    ("answer", "Answer"),
    ("audit", "Audit"),
    ("outside", "At other sites"),
    ("models", "Models"),
    ("metrics", "All metrics"),
    ("curves", "Curves"),
    ("use", "Probabilities and use"),
    ("cases", "Best and worst cases"),
    ("embeddings", "Embeddings"),
    ("cohort", "Cohort"),
    ("scans", "Scans"),
    ("preprocessing", "Preprocessing"),
    ("training", "Training"),
    ("looking", "Where it looks"),
    ("failures", "Failures"),
    ("paper", "For the paper"),
    ("reading", "How to read this"),
    ("reproduce", "Reproduce"),
)


def make_report(study: Study, out: Path, stores: dict[str, Path]) -> Report:
    """Tell what a run found, on whom, how, and what is not known.

    Args:
        study: The study.
        out: Its finished run directory.
        stores: Run name -> store folder (manifest.csv, preview/*.png) of every network.

    Returns:
        The page as HTML text, without scripts or links to anything outside it, and its
        tables and figures.

    Raises:
        RunError: A file of the run directory is missing.
    """
    inputs = read_inputs(study, out, stores)
    found = results.scores(inputs)
    page: dict[str, Any] = {
        "answer": results.answer(inputs, found) | {"best": models_table.best_of_wholes(inputs)},
        "verdicts": audited.verdicts(inputs),
        "audit": audited.audit(inputs),
        "looking": looking(inputs),
        "outside": outside(inputs),
        "metrics": results.metrics(inputs, found),
        "models": models_table.models(inputs, found),
        "across": across(inputs),
        "forests": results.forests(inputs, found),
        "panels": panels.panels(inputs, found),
        "use": use(inputs),
        "cases": cases.cases(inputs),
        "maps": embedding_maps(inputs),
        "neighbours": neighbours(inputs),
        "cohort": cohort.cohort(inputs),
        "characteristics": characteristics(inputs),
        "plan": planned(inputs),
        "scans": cohort.scans(inputs),
        "acquisition": acquisition.acquisition(inputs),
        "stores": making.preprocessing(inputs),
        "augmentation": making.augmentation(inputs),
        "training": making.training(inputs),
        "searched": searched(inputs),
        "failures": making.failures(inputs),
        "reproduce": repeat.reproduce(inputs),
    }
    for_paper = paper(inputs, found)
    drawn, per_run = beside.figures(page), beside.plots(page)
    every = [*models_table.tables(page["models"], inputs.comparisons), *tables(inputs, page), *page["use"]["tables"]]
    every += [*more_tables(page), *page["outside"]["files"]]
    listed = beside.named((table.name, table) for table in every if len(table.csv))
    there = {"audit": page["audit"]["checks"], "outside": page["outside"]["tables"]}
    absent = [name for name, what in there.items() if not what]
    html = (
        environment()
        .get_template("page.html.j2")
        .render(
            **page,
            study=study,
            fitting=fitting_patients(study),
            sections=[s for s in SECTIONS if s[0] not in absent],
            stamp=stamp_of(study),
            burned_in=burned_in(inputs.cohort, inputs.series),
            files={"tables": list(listed), "figures": list(drawn)},
            legend=audited.legend(page["verdicts"]),
            paper=for_paper.page,
            of_slices=any(config.is_slices for config in resolved(study)),
        )
    )
    report = Report(html, listed, drawn, per_run, stamp_of(study), for_paper)
    return beside.named_readably(report, study) if inputs.several else report


def write_report(study: Study, out: Path, stores: dict[str, Path]) -> str:
    """The page of `make_report` alone."""
    return make_report(study, out, stores).html
