"""What predicts the label without looking at the image: scan metadata, and age, sex and lesion volume.

Both are ridge logistic regressions, fitted and tested on the study's own folds, so that a network
can be held against them patient by patient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from scan2gene.core.tables import EXTERNAL, first_series
from scan2gene.evaluate.headers import by_patient, chosen
from scan2gene.stats.linear import ridge_logistic, sigmoid, standardised
from scan2gene.stats.resampling import PERSON

VOLUME = "lesion volume"
FOLD = ["split", "repeat", "fold"]
STRENGTH = 0.1  # inverse of the ridge penalty on standardised columns: many of them, few patients
_MIN_WORD_PATIENTS = 3  # rarer words share a column
_SCANNER = ("Manufacturer", "ManufacturerModelName", "MagneticFieldStrength")
_NUMBERS = ("spacing_i_mm", "spacing_j_mm", "spacing_k_mm", "SliceThickness", "SpacingBetweenSlices", "RepetitionTime",
            "EchoTime", "InversionTime", "FlipAngle", "MagneticFieldStrength", "n_files")  # fmt: skip
_WORDS = (*_SCANNER[:2], "plane", "orientation", "sequence", "ContrastBolusAgent", "BitsStored", "format")


def metadata_table(cohort: pd.DataFrame, series: pd.DataFrame) -> pd.DataFrame:
    """What a scan's header, geometry and place say of each patient: nothing of the picture itself.

    Args:
        cohort: cohort.csv.
        series: series.csv.

    Returns:
        Index patient_id (the first exam counts); columns of numbers, NaN where unknown, and of
        words, "" where unknown. Columns that are the same for all are left out.
    """
    first = cohort.drop_duplicates("patient_id").set_index("patient_id")
    index = series.drop_duplicates("series_id").set_index("series_id")
    roles = [c for c in first.columns if c.startswith("role:")]
    columns: dict[str, pd.Series] = {"site": first["site"].fillna("").astype(str)}
    columns["date"] = _days(first["date"]) if "date" in first else pd.Series(np.nan, first.index)
    columns["exams"] = cohort.groupby("patient_id").size().reindex(first.index).astype(float)
    for role in roles:
        rows = index.reindex(first[role].to_numpy())
        rows.index = first.index
        name = role.removeprefix("role:")
        columns[f"{name} present"] = first[role].notna().astype(float)
        if "shape" in rows:
            for axis, sizes in zip("ijk", zip(*map(_sizes, rows["shape"]), strict=True), strict=True):
                columns[f"{name} size {axis}"] = pd.Series(sizes, first.index, dtype=float)
        for column in set(_NUMBERS) & set(rows.columns):
            columns[f"{name} {column}"] = pd.to_numeric(rows[column], errors="coerce")
        for column in set(_WORDS) & set(rows.columns):
            columns[f"{name} {column}"] = rows[column].fillna("").astype(str)
    table = pd.DataFrame(columns)
    return table[sorted(c for c in table if table[c].nunique(dropna=False) > 1)]


def clinical_table(cohort: pd.DataFrame, series: pd.DataFrame, volume_mm3: pd.Series | None = None) -> pd.DataFrame:
    """Age, sex, the study's clinical columns, and the lesion's volume, as numbers by patient_id.

    Args:
        cohort: cohort.csv; its `clinical:` columns are taken.
        series: series.csv, whose PatientAge and PatientSex stand in where those columns lack age or sex.
        volume_mm3: Lesion volume by patient_id.
    """
    first = cohort.drop_duplicates("patient_id").set_index("patient_id")
    columns = {
        c.removeprefix("clinical:"): pd.to_numeric(first[c], errors="coerce")
        for c in first.columns if c.startswith("clinical:")
    }  # fmt: skip
    known = " ".join(columns).lower()
    index = series.drop_duplicates("series_id").set_index("series_id")
    rows = index.reindex(first_series(first).to_numpy())
    rows.index = first.index
    if "age" not in known and "PatientAge" in rows:
        columns["age"] = pd.to_numeric(rows["PatientAge"].astype(str).str.extract(r"^0*(\d+)Y?$")[0], errors="coerce")
    if "sex" not in known and "gender" not in known and "PatientSex" in rows:
        columns["sex"] = rows["PatientSex"].astype(str).str.upper().str[:1].map({"F": 0.0, "M": 1.0})
    if volume_mm3 is not None:
        columns[VOLUME] = np.log1p(volume_mm3.reindex(first.index).astype(float))
    table = pd.DataFrame(columns, index=first.index)
    return table[[c for c in table if table[c].notna().any() and table[c].nunique() > 1]]


def in_units(clinical: pd.DataFrame) -> pd.DataFrame:
    """Clinical columns as a reader knows them: the lesion's volume in ml, not its logarithm, which regressions want."""
    if VOLUME not in clinical:
        return clinical
    return clinical.assign(**{VOLUME: np.expm1(clinical[VOLUME]) / 1000}).rename(columns={VOLUME: f"{VOLUME} (ml)"})


def scored(
    features: pd.DataFrame, labels: pd.DataFrame, split: pd.DataFrame, site: pd.Series, more: pd.DataFrame | None = None
) -> pd.DataFrame:  # fmt: skip
    """Scores of tested patients by logistic regressions on what is not tested of each fold.

    Args:
        features: By patient_id; numbers and words.
        labels: patient_id, side, value of one target.
        split: Rows of one split.
        site: By patient_id.
        more: Columns of which each fold takes those that go with the label among its own training patients.

    Returns:
        repeat, fold, site, patient_id, side, y_true, prob; as `Sample` takes it. Folds whose
        training rows have one class give every patient the same score.
    """
    units = labels[["patient_id", "side", "value"]].assign(side=labels["side"].fillna(""))
    tables = []
    for (repeat, fold), rows in split.groupby(["repeat", "fold"], sort=False):
        part = rows[rows["part"] != EXTERNAL].drop_duplicates("patient_id").set_index("patient_id")["part"]
        own = units[units["patient_id"].isin(part.index) & units["patient_id"].isin(features.index)]
        tested = own["patient_id"].map(part) == "test"
        learn, test = own[~tested], own[tested]
        if test.empty:
            continue
        score, fold_features = np.zeros(len(test)), features
        if more is not None and learn["value"].nunique() == 2:
            people = by_patient(learn)
            own_columns = more[chosen(more.reindex(people.index), people)]
            fold_features = features.join(own_columns.add_prefix("header "))
        if learn["value"].nunique() == 2 and fold_features.shape[1]:
            known, asked = design(fold_features.loc[learn["patient_id"]], fold_features.loc[test["patient_id"]])
            weights, level = ridge_logistic(known, learn["value"].to_numpy(float), STRENGTH)
            score = asked @ weights + level
        tables.append(pd.DataFrame({
            "repeat": repeat, "fold": fold, "site": site.reindex(test["patient_id"]).to_numpy(),
            "patient_id": test["patient_id"].to_numpy(), "side": test["side"].to_numpy(),
            "y_true": test["value"].to_numpy(float), "prob": sigmoid(score),
        }))  # fmt: skip
    columns = ["repeat", "fold", "site", *PERSON, "y_true", "prob"]
    return pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)


def design(learn: pd.DataFrame, test: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Both tables as standardised numbers; medians, words, means and spreads are those of `learn`.

    A number that lacks becomes the median, with a column that says so; a word a column of 0 and 1.
    """
    columns: list[tuple[np.ndarray, np.ndarray]] = []
    for name in learn:
        own, other = learn[name], test[name]
        if pd.api.types.is_numeric_dtype(own):
            middle = float(own.median()) if own.notna().any() else 0.0
            columns.append((own.fillna(middle).to_numpy(float), other.fillna(middle).to_numpy(float)))
            if own.isna().any():
                columns.append((own.isna().to_numpy(float), other.isna().to_numpy(float)))
        else:
            counts = own.value_counts()
            columns += [
                ((own == word).to_numpy(float), (other == word).to_numpy(float))
                for word in counts.index[counts >= _MIN_WORD_PATIENTS]
            ]
    if not columns:
        return np.zeros((len(learn), 1)), np.zeros((len(test), 1))
    known, asked = (np.stack(side, axis=1) for side in zip(*columns, strict=True))
    known, asked = standardised(known, asked)
    return known, asked


def named_correctly(embeddings: np.ndarray, groups: np.ndarray, tested: np.ndarray, components: int = 20) -> np.ndarray:
    """Whether each tested exam's group is named from its embedding, by a rule learned on the others.

    Args:
        embeddings: (N, F).
        groups: (N,) names.
        tested: (N,) bool.
        components: Of the principal axes of the others, at most.

    Returns:
        (tested.sum(),) bool. Ridge regression on one column for each group; the highest names it.
    """
    x, new = standardised(embeddings[~tested], embeddings[tested])
    _, _, axes = np.linalg.svd(x, full_matrices=False)
    x, new = x @ axes[:components].T, new @ axes[:components].T
    names = np.unique(groups[~tested])
    wanted = (groups[~tested, None] == names).astype(float)
    level = wanted.mean(axis=0)
    weights = np.linalg.solve(x.T @ x + len(x) * 0.1 * np.eye(x.shape[1]), x.T @ (wanted - level))
    return names[(new @ weights + level).argmax(axis=1)] == groups[tested]


def _days(dates: pd.Series) -> pd.Series:
    """Dates, or years, as days; NaN where unknown."""
    text = dates.fillna("").astype(str).str.replace(r"\.0$", "", regex=True)
    found = pd.to_datetime(text.where(text.str.fullmatch(r"\d{4}"), None), format="%Y", errors="coerce")
    for form in ("%Y%m%d", "%Y-%m-%d"):
        found = found.fillna(pd.to_datetime(text, format=form, errors="coerce"))
    days = (found - pd.Timestamp("1990-01-01")).dt.days.astype(float)
    return days.where(found.notna())


def _sizes(shape: object) -> Sequence[float]:
    parts = str(shape).split("x")[:3]
    return [float(p) if p.isdigit() else np.nan for p in parts] if len(parts) == 3 else [np.nan] * 3
