"""A finished study's tables to the figures of its shortcut audit, and from these to its verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pandas as pd

from scan2gene.core.study import Study, clinical_half, headline, standardised
from scan2gene.core.text import capitalised, difference_text, listed, number_text, p_text
from scan2gene.evaluate.baselines import clinical_table, in_units, metadata_table, scored
from scan2gene.evaluate.domain_shift import Shift, shifts
from scan2gene.evaluate.embedding_map import scanners
from scan2gene.evaluate.ensemble import ALL
from scan2gene.evaluate.evaluate import to_patients
from scan2gene.evaluate.external import Transfer, transfers
from scan2gene.evaluate.headers import Headers, associated, by_patient, header_columns
from scan2gene.evaluate.headers import told as told_headers
from scan2gene.evaluate.multiclass import ClassSample
from scan2gene.evaluate.places import Cues, cue_figures
from scan2gene.evaluate.shortcuts import ALTERED, Figure, against, altered, baseline_told, measured, named
from scan2gene.evaluate.subgroups import grouped, subgroups
from scan2gene.evaluate.underfit import TrainingFinding
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.permutation import PERMUTATIONS, p_chance, p_chance_of_mean
from scan2gene.stats.resampling import Sample
from scan2gene.tasks.outputs import displayed, question, question_names
from scan2gene.tasks.run_config import resolved

METADATA = "scanner, site, scan settings, header fields and names"


@dataclass(frozen=True)
class Tables:
    """What the audit reads of a run directory.

    Args:
        cohort, series: cohort.csv and series.csv.
        labels: labels.csv from `one_vs_rest`.
        split: split.csv.
        predictions: predictions.parquet from `by_question`.
        variants: variants.parquet, also from it; empty where there is none.
        embeddings: embeddings.parquet; empty where there is none.
        volume_mm3: Of the lesion, by patient_id; None without masks.
        thresholds: thresholds.json.
        grey: Grey-value measures of prepared volumes, by patient_id; None where no site is external.
        learned, training: From `training_aurocs` and `training_findings`.
        cues: Run -> numbers about single places of the pictures that it sees.
        on_features: Run that reads features, or a mean with such a member -> whether they come from inside a mask.
    """

    cohort: pd.DataFrame
    series: pd.DataFrame
    labels: pd.DataFrame
    split: pd.DataFrame
    predictions: pd.DataFrame
    variants: pd.DataFrame
    embeddings: pd.DataFrame
    volume_mm3: pd.Series | None = None
    thresholds: Sequence[dict[str, Any]] = ()
    grey: pd.DataFrame | None = None
    learned: Mapping[tuple[str, str, str], float] = field(default_factory=dict)
    cues: Mapping[str, Cues] = field(default_factory=dict)
    training: Sequence[TrainingFinding] = ()
    on_features: Mapping[str, bool] = field(default_factory=dict)


def shortcut_figures(study: Study, tables: Tables, networks: Sequence[str]) -> list[Figure]:
    """Every figure of the shortcut audit.

    Args:
        study: Its targets, splits, draws and seed.
        tables: Of its run directory.
        networks: Runs that see images.
    """
    tested = tested_rows(tables.predictions)
    tested = tested[tested["variant"] == "original"]
    copies = tested_rows(tables.variants) if len(tables.variants) else tested[:0]
    features = {
        "metadata": metadata_table(tables.cohort, tables.series),
        "clinical": clinical_table(tables.cohort, tables.series, tables.volume_mm3),
    }
    headers = header_columns(tables.cohort, tables.series)
    groups = group_columns(tables, features["clinical"])
    site = tables.cohort.drop_duplicates("patient_id").set_index("patient_id")["site"]
    figures: list[Figure] = []
    for split in study.splits:
        for target in question_names(study.targets):
            own = tested[(tested["split"] == split.name) & (tested["target"] == target)]
            by_run = {run: rows for run, rows in own.groupby("run_id") if run in networks}
            figures += _of_target(study, tables, features, headers, (split.name, target), by_run, site)
            figures += _of_pictures(study, tables, (split.name, target), by_run)
            figures += _added(study, own, (split.name, target))
            figures += _unscored(tables.predictions, (split.name, target), [n for n in networks if n not in by_run])
            for run, scores in by_run.items():
                network = next(f for f in figures if (f.kind, f.split, f.target, f.run) == (
                    "network", split.name, target, run))  # fmt: skip
                altered_rows = copies[(copies["run_id"] == run) & (copies["split"] == split.name)
                                      & (copies["target"] == target)]  # fmt: skip
                variants = {name: altered_rows[altered_rows["variant"] == name] for name in ALTERED}
                figures += altered(network, scores, variants, _draws(study), study.seed)
                figures += subgroups(network, scores, groups, _draws(study), study.seed)
        figures += _macro(study, tested[tested["split"] == split.name], networks)
        if split.kind != "leave_one_site_out":
            figures += _names(study, tables, split.name, networks)
    return figures


def _draws(study: Study) -> int:
    return study.evaluate.bootstrap


def tested_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Scored test patients of single fits."""
    rows = to_patients(table[(table["part"] == "test") & (table["fold"] != ALL)])
    return rows.dropna(subset=["y_true", "prob"])


def _of_target(
    study: Study, tables: Tables, features: dict[str, pd.DataFrame], headers: Headers, where: tuple[str, str],
    by_run: dict[str, pd.DataFrame], site: pd.Series,
) -> Iterator[Figure]:  # fmt: skip
    """Networks and baselines of one split and target, and each network held against each baseline."""
    split, target = where
    draws, seed = _draws(study), study.seed
    for run, scores in by_run.items():
        figure = measured("network", (split, target, run), scores, draws, seed)
        if figure.estimate.value is not None:
            p = p_chance(Sample(scores), PERMUTATIONS, seed, _is_crossed(study, run, scores))
            figure = replace(figure, p=p)
        yield replace(figure, told=_told_network(figure))
    labels = tables.labels[(tables.labels["target"] == target) & tables.labels["value"].notna()]
    rows = tables.split[tables.split["split"] == split]
    yield _of_headers(headers, by_patient(labels), where)
    for kind, table in features.items():
        knows = METADATA if kind == "metadata" else listed(table.columns)
        more = headers.table if kind == "metadata" else None
        if not table.shape[1] and (more is None or more.empty):
            same = f"none of {', '.join(headers.looked_at)} differs between scans"
            reason = same if kind == "metadata" else "the study has neither age, sex nor masks"
            yield Figure(kind, split, target, "", knows or "age and sex", Estimate(None, reason=reason), 0, 0,
                         told=f"{kind}: {reason}.")  # fmt: skip
            continue
        scores = scored(table, labels, rows, site, more)
        if scores.empty:
            continue
        figure = measured(kind, (split, target, ""), scores, draws, seed, knows, PERMUTATIONS)
        yield replace(figure, told=baseline_told(figure, f"{capitalised(knows)} alone"))
        for run, own in by_run.items():
            beside = against(replace(figure, run=run, told=""), own, scores, draws, seed)
            yield replace(beside, told=_told_against(beside))


def _added(study: Study, own: pd.DataFrame, where: tuple[str, str]) -> Iterator[Figure]:
    """What a fixed answer has above the planned run on clinical columns, where that is one of its members."""
    fixed, half, runs = headline(study), clinical_half(study), dict(list(own.groupby("run_id")))
    if not {fixed, half} <= set(runs):
        return
    columns = next(run.model.options.get("columns", ()) for run in study.runs if run.name == half)
    base = measured("added", (*where, fixed), runs[half], _draws(study), study.seed, listed(columns))
    beside = against(base, runs[fixed], runs[half], _draws(study), study.seed)
    yield replace(beside, told=_told_against(beside))


def _is_crossed(study: Study, run: str, scores: pd.DataFrame) -> bool:
    """True for a mean of runs that several folds were tested with: its members are nearly linear in their features."""
    return run in standardised(study) and len(scores[["repeat", "fold"]].drop_duplicates()) > 1


def _macro(study: Study, tested: pd.DataFrame, networks: Sequence[str]) -> Iterator[Figure]:
    """Mean over classes of each network's AUROCs of a class against the rest, for targets of several classes."""
    for target, settings in study.targets.items():
        names = [question(target, label) for label in settings.classes]
        own = tested[tested["target"].isin(names)]
        for run, rows in own[own["run_id"].isin(networks)].groupby("run_id") if names else ():
            sample = ClassSample.of(rows)
            why = sample.lacking or sample.too_few
            estimate, p = Estimate(None, reason=why), None
            if not why:
                estimate = sample.interval("auroc_macro", _draws(study), study.seed)
                crossed = _is_crossed(study, str(run), rows)
                p = p_chance_of_mean(list(sample.by_class.values()), PERMUTATIONS, study.seed, crossed)
            figure = Figure("macro", rows["split"].iloc[0], target, run, "mean over classes", estimate,
                            sample.n_patients, 0, p)  # fmt: skip
            yield replace(figure, told=_told_network(figure))


def _of_headers(headers: Headers, labels: pd.Series, where: tuple[str, str]) -> Figure:
    """Every header field and name by itself; P is the smallest, corrected for their number."""
    split, target = where
    table = associated(headers.table, labels)
    p = None if table.empty else float(table["p_holm"].min())
    return Figure(
        "headers", split, target, "", "headers and names", Estimate(None, reason="each by itself"), len(labels),
        int(labels.sum()), p, told=told_headers(headers, table, displayed(target)),
    )  # fmt: skip


def _of_pictures(
    study: Study, tables: Tables, where: tuple[str, str], by_run: dict[str, pd.DataFrame]
) -> Iterator[Figure]:
    """What single places of pictures tell, once for all networks that see the same ones."""
    labels = tables.labels[(tables.labels["target"] == where[1]) & tables.labels["value"].notna()]
    rows = tables.split[tables.split["split"] == where[0]]
    for cues in {id(c): c for c in tables.cues.values()}.values():
        networks = {run: scores for run, scores in by_run.items() if tables.cues.get(run) is cues}
        if networks:
            yield from cue_figures(cues, networks, where, labels, rows, _draws(study), PERMUTATIONS, study.seed)


def _unscored(predictions: pd.DataFrame, where: tuple[str, str], runs: Sequence[str]) -> Iterator[Figure]:
    """Networks that were asked about a target, and of whose tested patients none can be scored."""
    split, target = where
    asked = predictions[(predictions["split"] == split) & (predictions["target"] == target)]
    for run in runs:
        if (asked["run_id"] == run).any():
            reason = "no tested patient has both a label and a prediction"
            figure = Figure("network", split, target, run, "", Estimate(None, reason=reason), 0, 0)
            yield replace(figure, told=_told_network(figure))


def _told_network(figure: Figure) -> str:
    """The AUROC on the scans as they are, and beside it what exchanged labels give."""
    if figure.estimate.value is None or figure.p is None:
        return f"{figure.run} on the scans as they are: cannot be estimated, because {figure.estimate.reason}."
    return (
        f"{figure.run} on the scans as they are: AUROC {number_text(figure.estimate.value)}, {figure.n} patients; with "
        f"labels exchanged between patients of a fold, one as far from 0.5 comes up with {p_text(figure.p)} "
        "(not corrected)."
    )


def _told_against(figure: Figure) -> str:
    apart = figure.difference
    if apart is None or apart.value is None:
        return f"{figure.run} cannot be held against {figure.of}, because {apart.reason if apart else 'of no scores'}."
    return f"{figure.run} less {figure.of} alone, on the same patients: {difference_text(apart)}."


def _names(study: Study, tables: Tables, split: str, networks: Sequence[str]) -> Iterator[Figure]:
    if tables.embeddings.empty:
        return
    about = {
        "site": tables.cohort.set_index("exam_id")["site"].fillna("").astype(str),
        "scanner": scanners(tables.cohort, tables.series),
    }
    for run in networks:
        rows = tables.embeddings[(tables.embeddings["run_id"] == run) & (tables.embeddings["split"] == split)]
        for what, groups in about.items():
            figure = named(what, split, run, rows, groups, _draws(study), study.seed) if len(rows) else None
            if figure is not None:
                yield figure


def group_columns(tables: Tables, clinical: pd.DataFrame) -> dict[str, pd.Series]:
    """Name -> group of each patient: what is clinically known, site and scanner."""
    known = in_units(clinical)
    found = {str(c): grouped(known[c]) for c in known}
    first = tables.cohort.drop_duplicates("patient_id")
    found["site"] = grouped(first.set_index("patient_id")["site"].astype(object))
    scanner = scanners(tables.cohort, tables.series).reindex(first["exam_id"])
    scanner.index = pd.Index(first["patient_id"])
    found["scanner"] = grouped(scanner)
    return found


def outside(study: Study, tables: Tables, figures: Sequence[Figure]) -> tuple[list[Transfer], list[Shift]]:
    """How runs do at sites that they never saw, and how patients there differ.

    Args:
        study: The study.
        tables: Of its run directory.
        figures: From `shortcut_figures`.
    """
    found = transfers(study, tables.predictions, tables.embeddings, figures, tables.thresholds,
                      adapted=adapting_runs(study))  # fmt: skip
    return found, shifts(
        study, tables.cohort, tables.series, tables.labels, tables.split, tables.volume_mm3, tables.grey
    )


def adapting_runs(study: Study) -> list[str]:
    """Runs whose ComBat estimates a site that training lacks from that site's own rows."""
    plugins = {config.name: config.data.harmonise for config in resolved(study)}
    return [name for name, plugin in plugins.items() if plugin and plugin.options.get("unknown") == "estimate"]
