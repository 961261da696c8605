"""A model card and a data card: what was built, of what, for what, how well, and what is not known.

Headings of the model card are those of Mitchell et al. 2019, of the data card those of Gebru et al. 2021 (and
Pushkarna et al. 2022); both say in their own words what the run knows, and name what its authors must add.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from scan2gene.core.text import capitalised
from scan2gene.report import known as k
from scan2gene.report import known_sites as sites
from scan2gene.report.checklists import TO_WRITE
from scan2gene.report.inputs import estimate_or_reason
from scan2gene.report.references import in_words
from scan2gene.report.results import METRIC_NAMES
from scan2gene.report.statements import markdown

GROUP_COLUMNS = ("target", "split", "run", "group", "AUROC with 95 % interval", "patients")
_SHOWN = ("auroc", "recall", "specificity", "brier")
_USE = (
    "Research: to ask whether scans hold something about the targets. Not for diagnosis, treatment or any decision "
    "about a patient; no authority has approved it."
)
_IDS = (
    "No ids, paths or dates of patients stand in this card; voxels and tables of the run directory may identify them."
)


@dataclass(frozen=True)
class Section:
    """A part of a card.

    Args:
        heading: Of the part.
        facts: (what, text).
        gaps: What the authors must add.
        table: Figures, where there are some.
    """

    heading: str
    facts: tuple[tuple[str, str], ...]
    gaps: tuple[str, ...] = ()
    table: pd.DataFrame | None = None


@dataclass(frozen=True)
class Card:
    """A card, its file's name, what it is made after, and its parts."""

    name: str
    title: str
    references: tuple[str, ...]
    sections: tuple[Section, ...]


def model_card(known: k.Known) -> Card:
    """Of the networks and baselines of a run."""
    return Card("model_card", "Model card", ("Mitchell2019",), (
        _section(known, "Model details", [
            ("Models", k.sentences("model")), ("Input", k.sentences("roles")), ("Started from", k.sentences("start")),
            ("Licences of these weights", k.weight_licences), ("Training", k.sentences("training", "epochs",
            "selection", "harmonisation", "adversary")),
            ("Ensembles", k.sentences("ensemble")), ("Software", k.sentences("software")),
        ], "who made the models, a contact, the licence of the trained weights"),
        _section(known, "Intended use", [("Use", k.always(_USE, "")), ("Question", k.question)],
                 "in which research they may be of use, and what is out of bounds"),
        _section(known, "Factors", [("Groups that were looked at", k.sentences("subgroups")),
                                    ("Scanners", k.sentences("scanners"))],
                                    "groups that matter and were not looked at"),
        _section(known, "Metrics", [("Measures", k.sentences("metrics")), ("Thresholds", k.sentences("thresholds")),
                                    ("Intervals", k.sentences("intervals", "comparison", "chance"))]),
        _section(known, "Evaluation data", [("Parts", k.sentences("split", "part sizes")), ("Patients", k.counts),
                                            ("Apart from training", k.together(k.disjoint, k.sentences("leakage"))),
                                            ("Other sites", k.together(k.sentences("external"),
                                            sites.by_site, sites.external))]),
        _section(known, "Training data", [("Cohort", k.sentences("cohort", "sites")), ("Labels",
        k.sentences("labels")),
                                          ("Left out", k.sentences("exclusions")), ("Licences", k.licences),
                                          ("Preparation", k.sentences("preprocessing"))]),
        _section(known, "Quantitative analyses", [("Verdict", k.verdict)], table=figures(known)),
        _section(known, "Groups of patients", [], table=groups(known)),
        _section(known, "Ethical considerations", [("Identities", k.always(_IDS, "")),
                                                   ("De-identification", k.sentences("deidentification"))],
                 "ethics approval, consent, and harm that a wrong answer could do"),
        _section(known, "Caveats and recommendations", [("Limits", k.limits)],
        "what users should test before they rely on it"),
        _section(known, "How to apply", [("Command", k.apply)]),
    ))  # fmt: skip


def data_card(known: k.Known) -> Card:
    """Of the curated cohort of a run."""
    return Card("data_card", "Data card", ("Gebru2021", "Pushkarna2022"), (
        _section(known, "Motivation", [("Question", k.question)], "who collected the data, for what, and who paid"),
        _section(known, "Composition", [
            ("Patients and exams", k.sentences("cohort", "sites")), ("Series", k.sentences("roles")),
            ("Labels", k.sentences("labels")), ("Missing", k.sentences("missing")), ("Characteristics",
            k.characteristics),
            ("Identities", k.together(k.always(_IDS, ""), k.sentences("deidentification"))),
        ], "whom the cohort represents and whom it does not"),
        _section(known, "Collection", [("Scanners", k.sentences("scanners", "years")), ("Voxels", k.spacing)],
                 "where and how patients were found, consent, ethics approval"),
        _section(known, "Preparation, cleaning and labels", [
            ("Left out", k.sentences("exclusions", "eligibility", "treatment")), ("Preparation", k.sentences(
                "preprocessing", "prepared")), ("Parts", k.sentences("split", "part sizes")),
        ], "how the labels were measured, and by whom masks were drawn"),
        _section(known, "Uses", [("Here", k.goal), ("Not for", k.always(_USE, ""))],
        "other uses, and uses to be avoided"),
        _section(known, "Distribution", [("Licences", k.licences)], "where the data can be had, on what terms"),
        _section(known, "Maintenance", [("Settings", k.protocol)], "who keeps the data, and how errors are reported"),
    ))  # fmt: skip


def _section(
    known: k.Known, heading: str, asked: list[tuple[str, k.Fill]], gap: str = "", table: pd.DataFrame | None = None
) -> Section:
    said = [(what, fill(known)) for what, fill in asked]
    return Section(heading, tuple((what, s.text) for what, s in said if s), (gap,) if gap else (), table)


def figures(known: k.Known) -> pd.DataFrame:
    """A row per run, split and target: four figures with intervals, or why there are none."""
    of_two_classes = [key for key, scored in known.scores.items() if scored.n_positive is not None]
    places = list(dict.fromkeys((target, split, run) for run, split, target, _ in of_two_classes))
    rows = []
    for target, split, run in places:
        found = {m: known.scores.get((run, split, target, m)) for m in _SHOWN}
        n = next((s for s in found.values() if s), None)
        cells = {_head(m): estimate_or_reason(s.estimate) if s else "no test patients" for m, s in found.items()}
        patients = f"{n.n:,}{n.of_sides}, {n.n_positive:,} positive" if n else "0"
        rows.append({"target": target, "split": split, "run": run, "patients": patients} | cells)
    return pd.DataFrame(rows)


def _head(metric: str) -> str:
    return "Sensitivity" if metric == "recall" else METRIC_NAMES[metric][0]


def groups(known: k.Known) -> pd.DataFrame | None:
    """AUROC by groups of patients that are large enough for an interval."""
    rows = [
        (r["target"], r["split"], r["run"], known.inputs.hide(r["of"]), k.spread_of(r), r["n"])
        for r in k.group_rows(known.inputs)
    ]
    return pd.DataFrame(rows, columns=list(GROUP_COLUMNS)) if rows else None


def shown(card: Card) -> Card:
    """A card without parts that say nothing."""
    kept = tuple(s for s in card.sections if s.facts or s.gaps or (s.table is not None and len(s.table)))
    return Card(card.name, card.title, card.references, kept)


def as_markdown(card: Card, study: str, stamp: str) -> str:
    """A card as a text of its own.

    Args:
        card: It.
        study: Its name.
        stamp: What every file must say; empty for nothing.
    """
    lines = [f"# {card.title} of {markdown(study)}", *([f"**{markdown(stamp)}.**"] if stamp else []),
             f"**{k.NOT_CLINICAL}** After {'; '.join(markdown(in_words(r)) for r in card.references)}"]  # fmt: skip
    for section in card.sections:
        lines.append(f"## {section.heading}")
        lines += [f"- **{what}.** {markdown(text)}" for what, text in section.facts]
        lines += [f"- **{capitalised(TO_WRITE)}:** {markdown(gap)}" for gap in section.gaps]
        if section.table is not None and len(section.table):
            lines.append(_table(section.table))
    return "\n\n".join(lines) + "\n"


def _table(table: pd.DataFrame) -> str:
    rows = [[markdown(str(v)) for v in row] for row in [list(table.columns), *table.astype(object).to_numpy().tolist()]]
    rows.insert(1, ["---"] * len(table.columns))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
