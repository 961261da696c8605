"""`scan2gene external`: a finished run on another labelled cohort, which its own study file describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.curate import Curated, curate
from scan2gene.cohorts.ids import lost_ids
from scan2gene.commands.apply import Applied, apply
from scan2gene.core.errors import CohortError, RunError, StudyError
from scan2gene.core.files import write_text
from scan2gene.core.rundir import RunDirectory
from scan2gene.core.study import Study
from scan2gene.core.study_cohort import Target
from scan2gene.core.study_file import load_study
from scan2gene.core.tables import EXTERNAL, without_slices
from scan2gene.core.text import listed
from scan2gene.evaluate.audit import adapting_runs
from scan2gene.evaluate.domain_shift import Shift, differences, shifts
from scan2gene.evaluate.ensemble import ENSEMBLE
from scan2gene.evaluate.external import Transfer, told, transfers
from scan2gene.evaluate.leakage import same_picture
from scan2gene.evaluate.shortcuts import Figure
from scan2gene.report.outside import external_page
from scan2gene.stats.intervals import Estimate
from scan2gene.tasks.outputs import by_question, displayed, one_vs_rest, question_names, target_of
from scan2gene.tasks.run_config import RunConfig, resolved

OURS, THEIRS = "0/", "1/"  # before ids, so that equal ids of two cohorts stay two people


@dataclass(frozen=True)
class External:
    """What `external` gives.

    Args:
        folder: With transfer.csv, shift.csv, scores.csv, external.json and report.html.
        transfers: Each run and target inside and outside.
        shifts: How patients outside differ.
        said: Sentences, the answer first.
    """

    folder: Path
    transfers: list[Transfer]
    shifts: list[Shift]
    said: list[str]


def external(
    run_dir: str | Path, study: str | Path, out: str | Path | None = None, *, run: str | None = None,
    split: str | None = None, other_patients: bool = False,
) -> External:  # fmt: skip
    """Test a finished run's networks on another cohort, with thresholds of its own development only.

    Args:
        run_dir: The run, begun without pseudonyms.
        study: Study file of the other cohort: its scans, labels and targets; nothing is trained.
        out: Where to; default `<run_dir>/external/<study name>`.
        run: One of the run's networks; default: all.
        split: Whose fold networks; default: the first.
        other_patients: Equal ids are other people; else patients of both cohorts are left out.

    Raises:
        RunError, StudyError, CohortError: As `apply` and `curate`, and where the two share no target.
    """
    trained, given = RunDirectory(Path(run_dir)), load_study(study)
    settings = trained.study()
    if settings.cohort.pseudonyms or given.cohort.pseudonyms:
        raise RunError("external does not know pseudonyms yet, so it cannot tell patients of both cohorts apart.")
    targets = {n: t for n, t in settings.targets.items() if n in given.targets}
    if not targets:
        raise StudyError(f"{study} has the targets {', '.join(given.targets)}, the run {', '.join(settings.targets)}; "
                         "give those that mean the same the same name.")  # fmt: skip
    new = RunDirectory(Path(out) if out is not None else trained.path / "external" / given.name)
    applied = apply(trained.path, given.cohort.scans, new.path, run=run, split=split, force=True, study=study)
    name = str(applied.predictions["split"].iloc[0]) if len(applied.predictions) else settings.splits[0].name
    curated = curate(given.model_copy(update={"targets": {n: given.targets[n] for n in targets}}),
                     new.series.read(), both_classes=False)  # fmt: skip
    ours = trained.cohort.read()
    lost, notes = _of_both(trained, settings, new, applied, ours, curated, other_patients)
    theirs = curated.cohort[~curated.cohort["patient_id"].isin(lost)]
    if theirs.empty:
        raise CohortError(f"no patient of {study} is left to test on: all are in the run too, by id or by image")
    chosen = next(s for s in settings.splits if s.name == name)
    there = chosen.model_copy(update={"external": [given.name]})
    view = settings.model_copy(update={"targets": targets, "splits": [there]})
    labels = _questions(curated.labels, targets, given)
    rows = _rows(trained, applied, name, theirs, labels, given.name)
    cuts = [t for t in trained.thresholds.read() if t["split"] == name]
    where = f"the external cohort {given.name}"
    moved = transfers(view, rows, _features(trained, new, theirs), _sites_named(trained), cuts, where,
                      adapting_runs(settings))  # fmt: skip
    shifted = _shifts(trained, view, new, applied, (ours, theirs), labels)
    said = [f"{one.run}, {displayed(one.target)}. {told(one)}" for one in moved]
    said += [d for target in question_names(targets) if (d := differences(shifted, name, target))]
    said += [*notes, *_counted(applied, theirs), *applied.notes]
    _write(new, view, given.name, moved, shifted, said, rows)
    return External(new.path, moved, shifted, [*said, *lost_ids(curated.exclusions)])  # ids are for the console only


def _questions(labels: pd.DataFrame, targets: dict[str, Target], given: Study) -> pd.DataFrame:
    """The other cohort's labels with two classes everywhere; classes of a target are those of the run, by their names.

    Raises:
        StudyError: A target has a class that the run does not know, or other kinds of labels.
    """
    for name, target in targets.items():
        theirs = given.targets[name].classes
        if set(theirs) - set(target.classes) or bool(theirs) != bool(target.classes):
            ours = [listed(classes) or "positive and negative" for classes in (theirs, target.classes)]
            raise StudyError(f"target {name} has the classes {ours[0]}, in the run {ours[1]}; give those that mean the "
                             "same the same name")  # fmt: skip
    numbers = {(name, label): n for name, target in targets.items() for n, label in enumerate(target.classes)}
    rows = labels[["target", "label", "value"]].itertuples(index=False, name=None)
    values = [numbers.get((target, label), value) for target, label, value in rows]
    return one_vs_rest(labels.assign(value=values), targets)


def _of_both(
    run_dir: RunDirectory, settings: Study, out: RunDirectory, applied: Applied, ours: pd.DataFrame, curated: Curated,
    other: bool,
) -> tuple[set[str], list[str]]:  # fmt: skip
    """Patients who are in the run's cohort too, by id or by a nearly identical image, and what is said of them."""
    people = set(curated.cohort["patient_id"])
    shared = set() if other else people & set(ours["patient_id"])
    twins = _twins(run_dir, settings, out, applied) & people
    notes = []
    if shared:
        notes.append(f"{len(shared)} patients have ids of the run's own cohort and are left out; if they are other "
                     "people, say --other-patients.")  # fmt: skip
    if twins - shared:
        notes.append(f"{len(twins - shared)} more have an image that is nearly identical with one of the run's cohort, "
                     "and are left out.")  # fmt: skip
    return shared | twins, notes


def _twins(run_dir: RunDirectory, settings: Study, out: RunDirectory, applied: Applied) -> set[str]:
    from scan2gene.preprocess.prints import twins_across

    found: set[str] = set()
    for store, config in _stores(run_dir, settings, out, applied):
        stores = [folder.store(store) for folder in (run_dir, out)]
        pair = [(folder.path, folder.manifest.read()) for folder in stores]
        pairs = twins_across(pair, config.roles, [folder.fingerprints(store) for folder in (run_dir, out)])
        alike = pairs[same_picture(pairs)]
        for one, two in alike[["one", "two"]].itertuples(index=False, name=None):
            if {one[:2], two[:2]} == {OURS, THEIRS}:
                found.add((one if one.startswith(THEIRS) else two)[2:])
    return found


def _stores(run_dir: RunDirectory, settings: Study, out: RunDirectory, applied: Applied) -> list[tuple[str, RunConfig]]:
    """Names of the recipes that both prepared, and a run that reads each."""
    from scan2gene.preprocess.recipe import recipe_hash

    predicted = set(applied.predictions["run_id"])
    configs = {recipe_hash(config.recipe): config for config in resolved(settings) if config.name in predicted}
    return [(n, c) for n, c in configs.items() if all(f.store(n).manifest.exists() for f in (run_dir, out))]


def _rows(
    run_dir: RunDirectory, applied: Applied, split: str, theirs: pd.DataFrame, labels: pd.DataFrame, site: str
) -> pd.DataFrame:  # fmt: skip
    """The run's tested patients and the other cohort's, as one prediction table."""
    own = by_question(without_slices(run_dir.predictions.read()))
    own = own[(own["split"] == split) & (own["part"] == "test") & (own["variant"] == "original")]
    own = own[own["run_id"].isin(applied.predictions["run_id"])]
    far = by_question(applied.predictions)
    far = far[far["variant"].isin(["original", ENSEMBLE]) & far["exam_id"].isin(theirs["exam_id"])]
    person = pd.MultiIndex.from_frame(labels.assign(side=labels["side"].fillna(""))[["patient_id", "target", "side"]])
    truth = pd.Series(labels["value"].to_numpy(float), index=person)
    where = pd.MultiIndex.from_frame(far.assign(side=far["side"].fillna(""))[["patient_id", "target", "side"]])
    far = far.assign(y_true=truth.reindex(where).to_numpy(), part=EXTERNAL, split=split, site=site)
    both = [(own, OURS), (far, THEIRS)]
    return pd.concat([t.assign(patient_id=mark + t["patient_id"]) for t, mark in both], ignore_index=True)


def _features(run_dir: RunDirectory, out: RunDirectory, theirs: pd.DataFrame) -> pd.DataFrame:
    """Embeddings of the run's tested patients, and of the other cohort's as external ones."""
    if not (run_dir.embeddings.exists() and out.embeddings.exists()):
        return pd.DataFrame()
    own, far = run_dir.embeddings.read(), out.embeddings.read()
    far = far[far["exam_id"].isin(theirs["exam_id"])].assign(part=EXTERNAL)
    own = own[own["part"] == "test"]
    both = [(own, OURS), (far, THEIRS)]
    return pd.concat([t.assign(patient_id=mark + t["patient_id"]) for t, mark in both], ignore_index=True)


def _sites_named(run_dir: RunDirectory) -> list[Figure]:
    """What the run's own audit says of naming sites from features; nothing where it was not audited."""
    rows = run_dir.audit.read()["shortcuts"] if run_dir.audit.exists() else []
    return [
        Figure("site", r["split"], "", r["run"], r["of"], Estimate(r["value"], r["low"], r["high"]), r["n"], 0)
        for r in rows
        if r["kind"] == "site"
    ]


def _shifts(
    run_dir: RunDirectory, view: Study, out: RunDirectory, applied: Applied,
    cohorts: tuple[pd.DataFrame, pd.DataFrame], labels: pd.DataFrame,
) -> list[Shift]:  # fmt: skip
    from scan2gene.predict.familiar import grey_table

    split = run_dir.split.read()
    used = set(split.loc[(split["split"] == view.splits[0].name) & (split["part"] != EXTERNAL), "patient_id"])
    ours, theirs = cohorts[0][cohorts[0]["patient_id"].isin(used)], cohorts[1]
    own_labels = one_vs_rest(run_dir.labels.read(), view.targets)
    series = [run_dir.series.read(), out.series.read()]
    marks = ((ours, own_labels, OURS, "train"), (theirs, labels, THEIRS, EXTERNAL))
    cohort = pd.concat([t.assign(patient_id=m + t["patient_id"]) for t, _, m, _ in marks], ignore_index=True)
    known = pd.concat([t.assign(patient_id=m + t["patient_id"]) for _, t, m, _ in marks], ignore_index=True)
    parts = pd.concat([pd.DataFrame({"patient_id": m + t["patient_id"].drop_duplicates(), "part": part})
                       for t, _, m, part in marks]).assign(split=view.splits[0].name, repeat=0, fold=0)  # fmt: skip
    grey = None
    for store, seen in _stores(run_dir, view, out, applied)[:1]:
        tables = [grey_table(t, s, folder.store(store).path, seen)
                  for t, s, folder in zip((ours, theirs), series, (run_dir, out), strict=True)]  # fmt: skip
        grey = pd.concat([t.set_axis(m + t.index) for t, m in zip(tables, (OURS, THEIRS), strict=True)])
    index = pd.concat(series, ignore_index=True).drop_duplicates("series_id")
    return shifts(view, cohort.assign(site=cohort["site"].fillna("")), index, known, parts, grey=grey)


def _counted(applied: Applied, theirs: pd.DataFrame) -> list[str]:
    rows = applied.predictions[applied.predictions["exam_id"].isin(theirs["exam_id"])]
    rows = rows[rows["variant"] == ENSEMBLE]
    lacking = len(set(theirs["exam_id"]) - set(rows["exam_id"]))
    said = [f"{lacking} labelled exams were not found by `apply` and are in no figure."] if lacking else []
    for run, own in rows.groupby("run_id", sort=False):
        exams = own.drop_duplicates("exam_id")
        unlike = int(exams["reason"].fillna("").str.startswith("forced: ").sum())
        failed = int((exams["status"] != "ok").sum())
        said.append(f"{run}: {len(exams)} labelled exams, {failed} could not be predicted; {unlike} are unlike "
                    "training exams, so that `apply` would refuse them, and count all the same.")  # fmt: skip
    return said


def _write(
    out: RunDirectory, study: Study, name: str, moved: list[Transfer], shifted: list[Shift], said: list[str],
    rows: pd.DataFrame,
) -> None:  # fmt: skip
    tables = {"transfer": [one.row() for one in moved], "shift": [one.row() for one in shifted]}
    out.transfer.write(pd.DataFrame(tables["transfer"]))
    out.shift.write(pd.DataFrame(tables["shift"]))
    far = rows[(rows["part"] == EXTERNAL) & (rows["variant"] == ENSEMBLE)]
    far = far.assign(patient_id=far["patient_id"].str.removeprefix(THEIRS))
    columns = ["run_id", "patient_id", "exam_id", "side", "target", "y_true", "prob"]
    if any(target.classes for target in study.targets.values()):  # as `compare` reads it
        target = far["target"].map(target_of)
        far, columns = far.assign(target=target), [*columns, "label"]
    out.scores.write(far[columns])
    out.external.write({"said": said, **tables})
    title = f"{study.name} on {name}"
    write_text(out.report.path, external_page(study, title, said, tables["transfer"], tables["shift"]))
