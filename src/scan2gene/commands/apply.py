"""`scan2gene apply`: predict unlabelled exams with the networks of a finished run, or say why not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from scan2gene import __version__
from scan2gene.cohorts.clinical_values import of_headers, of_table
from scan2gene.cohorts.unlabelled import Found, find_unlabelled
from scan2gene.commands.predict_exams import predict_exams
from scan2gene.commands.predict_tables import exams_of_tables, features_of_exams, predict_tables
from scan2gene.core.console import say
from scan2gene.core.errors import RunError, StudyError
from scan2gene.core.files import value_hash
from scan2gene.core.rundir import RunDirectory, StoreDirectory
from scan2gene.core.section import unknown_name
from scan2gene.core.study import Study, is_leaky, members_by, standardised
from scan2gene.core.study_cohort import Cohort
from scan2gene.core.study_file import load_study
from scan2gene.core.tables import PREDICTION_COLUMNS
from scan2gene.core.text import listed
from scan2gene.evaluate.blocks import applied_means
from scan2gene.evaluate.ensemble import answers, ensemble
from scan2gene.evaluate.stacking import LATE, late_applied
from scan2gene.learners import reads_images
from scan2gene.preprocess.recipe import recipe_hash, roles_seen
from scan2gene.privacy.pseudonyms import pseudonymiser
from scan2gene.stages.fits import model_versions
from scan2gene.tasks.binary import POSITIVE
from scan2gene.tasks.fit import Fit
from scan2gene.tasks.outputs import by_question
from scan2gene.tasks.run_config import RunConfig, resolved

SUMMARY_COLUMNS = (
    "run_id",
    "patient_id",
    "exam_id",
    "side",
    "target",
    "label",
    "prob",
    "threshold",
    "decision",
    "status",
    "reason",
)


@dataclass(frozen=True)
class Applied:
    """What `apply` gives.

    Args:
        folder: With predictions.parquet and predictions.csv.
        predictions: Columns `PREDICTION_COLUMNS`: a row per exam, target and fold network, and
            one with variant "ensemble", the mean logit.
        summary: Of the ensembles; columns `SUMMARY_COLUMNS`.
        notes: Sentences on what stands behind the figures.
    """

    folder: Path
    predictions: pd.DataFrame
    summary: pd.DataFrame
    notes: list[str]


def apply(
    run_dir: str | Path, scans: str | Path | Iterable[str | Path], out: str | Path | None = None, *,
    run: str | None = None, split: str | None = None, force: bool = False, study: str | Path | None = None,
    clinical: str | Path | None = None,
) -> Applied:  # fmt: skip
    """Predict exams without labels with a run's networks; refuse those unlike its training exams.

    Args:
        run_dir: A finished run directory.
        scans: Folders or files with DICOM or NIfTI.
        out: Where to; default `<run_dir>/apply/<name of the scans' folder>`, without that
            name where the run has pseudonyms.
        run: One of the study's runs, an ensemble with its members; default: all.
        split: Whose fold networks; default: the study's first.
        force: Predict also what would be refused; the reason stays in its row.
        study: Study file whose `cohort` part finds the exams, where ids or series are named
            otherwise than in the run's scans, or the run has pseudonyms.
        clinical: Table with the clinical columns that runs read, such as age; default: that of `study`, or age and
            sex from the headers.

    Raises:
        RunError: The run is not finished, was prepared by other versions of its steps, or lacks what is asked for.
        CohortError, ScanError: The scans cannot be sorted into exams at all.
    """
    trained = RunDirectory(Path(run_dir))
    roots = [Path(p).resolve() for p in ([scans] if isinstance(scans, str | Path) else scans)]
    settings = _with_weights(trained.study(), study)
    split = _chosen_split(settings, split)
    brought = {} if study is None else {n: b for n, b in load_study(study).features.items() if b.table}
    configs, notes = _applicable(settings, run, clinical is not None or bool(brought), brought)
    of_runs = [(_fits(trained, c, split), _store(trained, c) if reads_images(c) else None) for c in configs]
    rules, key = _rules(settings, configs, study, roots, trained.path)
    new = RunDirectory(_folder(trained.path, roots, out, hidden=key is not None))
    new.path.mkdir(parents=True, exist_ok=True)
    with new.exclusive():
        _begin(new, trained, roots, split, force)
        found = find_unlabelled(rules, new.path, key) if roots else exams_of_tables(brought, new)
        say("exams", f"{len(found.listed)} found, {len(found.exams)} with every role that is needed")
        notes += [*(f"warning: {text}" for text in found.warnings), *_known_before(trained, found)]
        tables, seen = [], []
        on_tables = [config for config in configs if not reads_images(config)]
        features = features_of_exams(on_tables, found, new, brought, trained) if on_tables else {}
        known = _clinical(settings, on_tables, found, study, clinical)
        for fits, store in of_runs:
            if store is None:
                tables.append(predict_tables(fits, found, features, known, force))
                continue
            rows, embeddings, told = predict_exams(trained, fits, store, found, new, force)
            tables.append(rows)
            seen += embeddings
            notes += [n for n in told if n not in notes]
        tables += _means(trained, settings, pd.concat(tables, ignore_index=True))
        fused = _late(trained, settings, pd.concat(tables, ignore_index=True))
        predictions = (
            pd.concat([*tables, fused], ignore_index=True) if len(fused) else pd.concat(tables, ignore_index=True)
        )
        new.predictions.write(predictions)
        new.predictions_csv.write(predictions)
        _keep_features(new.embeddings.path, seen)
    return Applied(new.path, predictions, _summary(predictions, trained, split), notes)


def _with_weights(settings: Study, file: str | Path | None) -> Study:
    """The study with the places of weights from a study file, where one is named: pseudonyms hide them."""
    if file is None:
        return settings
    given = load_study(file)
    places = {r.name: {"file": r.weights.file, "run": r.weights.run} for r in given.runs if r.weights}
    runs = [
        r.model_copy(update={"weights": r.weights.model_copy(update=places[r.name])})
        if r.weights and r.name in places
        else r
        for r in settings.runs
    ]
    return settings.model_copy(update={"runs": runs, "weights_dir": given.weights_dir})


def _chosen_split(settings: Study, split: str | None) -> str:
    names = [s.name for s in settings.splits]
    if split is not None and split not in names:
        raise RunError(f"split {unknown_name(split, names)}")
    return split or names[0]


def _applicable(
    settings: Study, run: str | None, clinical: bool, brought: Collection[str]
) -> tuple[list[RunConfig], list[str]]:  # fmt: skip
    """Runs that new exams can be shown, and a sentence about the others; `brought` are tables that come with them."""
    names = [one.name for one in settings.runs]
    if run is not None and run not in names:
        raise RunError(f"run {unknown_name(run, names)}")
    if is_leaky(settings):
        raise RunError("the study splits slices to show leakage (LEAKY), so its networks are not applied to new exams")
    candidates = [config for config in resolved(settings) if run is None or config.name in _fitted(settings, run)]
    absent = {name for name, block in settings.features.items() if block.table} - set(brought)
    waited = {member for members in standardised(settings).values() for member in members}
    kept, notes = [], []
    for config in candidates:
        read = config.model.options.get("features", ())
        if absent & set(read):
            why = "it reads a table of features, which new exams do not have; --study names a study that brings one"
            notes.append(f"{config.name} is skipped: {why}.")
        elif reads_images(config) or read or clinical or config.name in waited:
            kept.append(config)
        else:
            notes.append(f"{config.name} is skipped: it needs columns of the label table; give --clinical TABLE.")
    if not kept:
        raise RunError(
            f"{listed(c.name for c in candidates)}: a model on a table, which new exams do not have. Only networks "
            "and features of images can be applied; to columns of the label table --clinical TABLE gives the values."
        )
    return kept, notes


def _fitted(settings: Study, run: str) -> set[str]:
    """The run itself, or the fitted runs behind an ensemble."""
    members = standardised(settings).get(run)
    return {run} if members is None else set().union(*(_fitted(settings, member) for member in members))


def _clinical(
    settings: Study, configs: list[RunConfig], found: Found, file: str | Path | None, table: str | Path | None
) -> pd.DataFrame:
    """Numbers of the clinical columns that runs read, by patient_id."""
    columns = list(dict.fromkeys(c for config in configs for c in config.model.options.get("columns", ())))
    if not columns:
        return pd.DataFrame()
    headers = of_headers(found.series, columns)
    if table is not None:
        return of_table(settings.cohort, columns, table).combine_first(headers)
    if file is not None and (given := load_study(file).cohort).labels:
        return of_table(given, columns).combine_first(headers)
    return headers


def _means(run_dir: RunDirectory, settings: Study, predictions: pd.DataFrame) -> list[pd.DataFrame]:
    """Rows of runs that are means of others, fold by fold and over all folds."""
    members = standardised(settings)
    if not members or not run_dir.scales.exists():
        return []
    rows = applied_means(answers(predictions), members, run_dir.scales.read())
    if rows.empty:
        return []
    return [rows, ensemble(rows)]


def _fits(run_dir: RunDirectory, config: RunConfig, split: str) -> list[Fit]:
    """Every fit of a run on a split; each must be whole."""
    table = run_dir.split.read()
    found = []
    for repeat, number in table.loc[table["split"] == split, ["repeat", "fold"]].drop_duplicates().astype(int).values:
        folder = run_dir.fit(config.name, split, int(repeat), int(number))
        fit = Fit(config, split, int(repeat), int(number), folder)
        stamp = run_dir.stamp(fit.stage)
        if stamp is None or run_dir.damaged(stamp):
            raise RunError(
                f"the network of {config.name}, {folder.path.name}, in {run_dir} is not trained to its end or not "
                "whole. Run the study to its end first."
            )
        if stamp["models"] != model_versions(config):
            raise RunError(
                f"the network of {config.name}, {folder.path.name}, in {run_dir} was trained with another version of "
                "its model, so it would answer otherwise now. Use the version of scan2gene that made the run, or run "
                "the study again."
            )
        found.append(fit)
    if not found:
        raise RunError(f"{run_dir.split.path} has no split {split!r}. Run the study to its end first.")
    return found


def _store(run_dir: RunDirectory, config: RunConfig) -> StoreDirectory:
    store = run_dir.store(recipe_hash(config.recipe))
    if not store.manifest.exists():
        raise RunError(
            f"{run_dir} has no prepared exams by this version's steps, so new exams of {config.name} would look "
            "otherwise than those of training. Use the version of scan2gene that made the run, or run the study again."
        )
    return store


def _rules(
    settings: Study, configs: list[RunConfig], file: str | Path | None, roots: list[Path], run_dir: Path
) -> tuple[Cohort, Path | None]:
    """How exams are found in the new scans, and the key file of a run with pseudonyms.

    An exam needs the roles that every one of `configs` reads; what only some of them read, it may lack.
    """
    rules = settings.cohort
    read = [set(roles_seen(c)) for c in configs if reads_images(c) or c.model.options.get("features")]
    read = read or [set(rules.roles)]
    if file is not None:
        given = load_study(file)
        _check_roles(given.cohort, rules, set.intersection(*read), file)
        if (given.cohort.pseudonyms is None) != (rules.pseudonyms is None):
            raise StudyError(f"{file} and {run_dir} must both have cohort.pseudonyms, or neither")
        rules = given.cohort
    elif rules.pseudonyms is not None:
        raise RunError(
            f"{run_dir} holds pseudonyms, and neither its patterns nor its key file. Name its study file: "
            "--study STUDY.yaml."
        )
    key = None
    if rules.pseudonyms is not None:
        key = Path(rules.pseudonyms).resolve()
    # an exclude file speaks of the run's own scans; where it is gone, new ones lose nothing
    excluded = rules.exclude_file if rules.exclude_file and Path(rules.exclude_file).is_file() else None
    wanted = {}
    for name in set.union(*read) & set(rules.roles):
        spared = settings.cohort.roles[name].optional or any(name not in roles for roles in read)
        wanted[name] = rules.roles[name].model_copy(update={"optional": spared})
    update = {
        "scans": [str(p) for p in roots],
        "exclude_file": excluded,
        "roles": {n: wanted[n] for n in rules.roles if n in wanted},
    }
    if rules.min_lesion and any(rules.min_lesion.role not in r for r in read):
        update["min_lesion"] = None  # a new exam without that mask is predicted all the same
    rules = rules.model_copy(update=update)
    if key is not None:
        pseudonymiser(settings.model_copy(update={"cohort": rules}), run_dir)  # refuses a key that lies among the scans
    return rules, key


def _check_roles(given: Cohort, rules: Cohort, needed: set[str], file: str | Path) -> None:
    """Refuse a study file that lacks a role that all networks read, or means another kind by its name."""
    lacking = [name for name in rules.roles if name in needed and name not in given.roles]
    if lacking:
        raise StudyError(f"{file} has no role {' and no role '.join(lacking)}, which the networks read; add it to "
                         "cohort.roles.")  # fmt: skip
    for name, role in given.roles.items():
        if name in rules.roles and role.kind != rules.roles[name].kind:
            raise StudyError(f"{file}: role {name} is of kind {role.kind}, and of kind {rules.roles[name].kind} in the "
                             "run.")  # fmt: skip


def _folder(run_dir: Path, roots: list[Path], out: str | Path | None, hidden: bool) -> Path:
    # a folder may be called as its patient is
    called = roots[0].name if roots else "tables"
    name = f"exams-{value_hash([str(r) for r in roots])[:6]}" if hidden else called or "scans"
    folder = Path(out) if out is not None else run_dir / "apply" / name
    if any(folder.resolve().is_relative_to(root) for root in roots):
        raise RunError(f"{folder} lies among the scans, and would be taken for scans next time. Name another with -o.")
    return folder


def _begin(out: RunDirectory, run_dir: RunDirectory, roots: list[Path], split: str, force: bool) -> None:
    """Note what a folder holds; that of other scans is not overwritten: many folders are called `scans`."""
    what = value_hash([str(run_dir.path.resolve()), *map(str, roots)])  # paths may hold names
    if out.applied.exists() and out.applied.read().get("applied") != what:
        raise RunError(f"{out} holds the predictions of other scans or of another run. Name another folder with -o.")
    out.applied.write({"version": __version__, "applied": what, "split": split, "force": force})


def _known_before(run_dir: RunDirectory, found: Found) -> list[str]:
    """A sentence where exams are those of the run itself, whose networks have seen them."""
    columns = [c for c in found.exams.columns if c.startswith("role:")]
    cohort = run_dir.cohort.read()
    seen = {s for c in columns if c in cohort for s in cohort[c].dropna()}
    again = int(found.exams[columns].isin(seen).any(axis=1).sum())
    return [f"{again} exams are among the run's own: their predictions say nothing about new ones."] if again else []


def _keep_features(path: Path, tables: list[pd.DataFrame]) -> None:
    """Write what the last layer of each network saw, as embeddings.parquet of a run has it; nothing without such."""
    from scan2gene.predict.table import write_embeddings

    path.unlink(missing_ok=True)
    if tables:
        write_embeddings(path, tables)


def _late(run_dir: RunDirectory, settings: Study, predictions: pd.DataFrame) -> pd.DataFrame:
    """Rows of what the study fuses late from several runs, with the weights that it learned."""
    members = members_by(settings, "late")
    if not members or not run_dir.fusion_weights.exists():
        return predictions[:0]
    fused = late_applied(predictions, members, run_dir.fusion_weights.read())
    if fused.empty:
        return fused
    refused = fused[fused["status"] == "refused"]
    together = ensemble(fused)
    together.loc[together["exam_id"].isin(refused["exam_id"]), "status"] = "refused"
    return pd.concat([fused, together], ignore_index=True)[list(PREDICTION_COLUMNS)]


def _summary(predictions: pd.DataFrame, run_dir: RunDirectory, split: str) -> pd.DataFrame:
    """The ensembles with the median of their networks' thresholds and the decision.

    A target with two classes is decided at its threshold; of several classes the one of the largest probability is.
    """
    rows = by_question(predictions[predictions["variant"] == "ensemble"]).copy()
    cuts = pd.DataFrame(run_dir.thresholds.read([]))
    if len(cuts):
        own = cuts["variant"].isin(["original", LATE]) if "variant" in cuts else True  # not of other ways to answer
        cuts = cuts[(cuts["split"] == split) & own].groupby(["run_id", "target"])["threshold"].median()
        rows["threshold"] = cuts.reindex(pd.MultiIndex.from_frame(rows[["run_id", "target"]])).to_numpy()
    else:
        rows["threshold"] = np.nan
    decided = rows["prob"].notna() & rows["threshold"].notna()
    rows["decision"] = np.where(rows["prob"] >= rows["threshold"], "positive", "negative")
    several = rows["label"] != POSITIVE
    rows["target"] = predictions["target"].loc[rows.index]
    most = rows.groupby(["run_id", "exam_id", "side", "target"], dropna=False)["prob"].transform("max")
    rows.loc[several, "decision"] = np.where(rows["prob"] == most, "positive", "negative")[several]
    rows["decision"] = rows["decision"].where(np.where(several, rows["prob"].notna(), decided), "")
    return rows[list(SUMMARY_COLUMNS)].reset_index(drop=True)


def told(applied: Applied) -> Iterator[str]:
    """The notes, counts and warnings that a terminal shows below the table."""
    exams = applied.summary.drop_duplicates(["run_id", "exam_id"])
    for run, rows in exams.groupby("run_id", sort=False):
        counts = rows["status"].value_counts()
        yield f"{run}: " + ", ".join(f"{counts.get(s, 0)} {s}" for s in ("ok", "refused", "failed"))
    yield from applied.notes
    yield "The threshold is the median of the fold networks'. Research output, not for clinical use."
