"""What Imaging Data Commons holds of a public cohort, asked of idc-index's bundled index without a network.

Only the index (package idc-index-data) is needed; its companion idc-index would add DuckDB and a transfer program.
Source: Fedorov 2023, "National Cancer Institute Imaging Data Commons", doi 10.1148/rg.230180.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.public import public_cohort
from scan2gene.core.errors import CohortError
from scan2gene.core.text import file_size

COLUMNS = (
    "collection_id", "PatientID", "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "StudyDescription", "Modality",
    "SeriesDescription", "instanceCount", "series_size_MB", "license_short_name", "source_DOI", "series_aws_url",
)  # fmt: skip
PACKAGE = "idc_index_data"


@dataclass(frozen=True)
class Wanted:
    """The part of a public cohort that is to be fetched.

    Args:
        name: Key of `COHORTS`.
        series: Rows of the index, columns `COLUMNS`, by patient, study and series.
        patients_there: Patients of the collection with MR.
        version: Of the index; its major number is the release of Imaging Data Commons.
    """

    name: str
    series: pd.DataFrame
    patients_there: int
    version: str

    @property
    def size_bytes(self) -> int:
        """Sum of the files, as the index has it."""
        return round(float(self.series["series_size_MB"].sum()) * 1e6)

    @property
    def files(self) -> int:
        """Number of files."""
        return int(self.series["instanceCount"].sum())


def bundled_index() -> tuple[Path, str]:
    """The index file and its version.

    Raises:
        CohortError: The package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise CohortError("the index of Imaging Data Commons is not installed: pip install 'scan2gene[idc]'")
    return Path(spec.origin).with_name("idc_index.parquet"), metadata.version(PACKAGE.replace("_", "-"))


def wanted(name: str, patients: str = "", pattern: str | None = None, index: Path | None = None) -> Wanted:
    """Series of a public cohort.

    Args:
        name: Key of `COHORTS`.
        patients: A number (the first by id), a file with one id a line, or empty for all.
        pattern: Only series in whose SeriesDescription it is found, case ignored.
        index: A parquet file with `COLUMNS`; default: the bundled one.

    Raises:
        CohortError: Unknown or closed cohort, no such patient, nothing left, or a wrong pattern.
    """
    card = public_cohort(name)
    if card.closed:
        raise CohortError(f"{name} cannot be fetched: {card.closed}. Page: {card.page}")
    path, version = (index, "") if index is not None else bundled_index()
    wish = [("collection_id", "==", card.collection), ("Modality", "==", "MR")]
    try:
        series = pd.read_parquet(path, columns=list(COLUMNS), filters=wish)
    except (OSError, ValueError) as error:
        raise CohortError(f"the index {path.name} cannot be read ({error}); install scan2gene[idc] again") from None
    if series.empty:
        raise CohortError(
            f"{name} has no open MR images in the index {version}. They may have been closed or renamed: {card.page}"
        )
    there = sorted(series["PatientID"].unique())
    series = series[series["PatientID"].isin(_chosen(patients, there))]
    if pattern:
        try:
            found = described(series, pattern)
        except re.error as error:
            raise CohortError(f"--series {pattern!r} is no regular expression: {error}") from None
        if not found.any():
            called = series["SeriesDescription"].value_counts().index[:5]
            raise CohortError(f"no series has {pattern!r} in its description; they are called {', '.join(called)} ...")
        series = series[found]
    keys = ["PatientID", "StudyInstanceUID", "SeriesInstanceUID"]
    return Wanted(name, series.sort_values(keys, ignore_index=True), len(there), version)


def told(what: Wanted) -> list[str]:
    """What would be fetched: patients, series, files, size, and every licence with its source."""
    card, series = public_cohort(what.name), what.series
    lines = [
        f"{what.name}: {card.title}",
        f"{series['PatientID'].nunique()} of {what.patients_there} patients, {len(series)} MR series, "
        f"{what.files} files, {file_size(what.size_bytes)}",
    ]
    for (licence, source), n in series.groupby(["license_short_name", "source_DOI"]).size().items():
        lines.append(f"licence {licence} for {n} series; cite https://doi.org/{source}")
    if card.series:
        own = series[described(series, card.series)]
        if 0 < len(own) < len(series):
            share = file_size(float(own["series_size_MB"].sum()) * 1e6)
            lines.append(f"its study file takes {len(own)} of these series, {share}: --series '{card.series}'")
    return lines


def described(series: pd.DataFrame, pattern: str) -> pd.Series:
    """Which series have a pattern in their description, case ignored."""
    search = re.compile(pattern, re.IGNORECASE).search
    return series["SeriesDescription"].fillna("").map(lambda text: search(text) is not None).astype(bool)


def _chosen(patients: str, there: list[str]) -> list[str]:
    """Ids of the patients asked for."""
    if not patients:
        return there
    if patients.isdigit():
        if int(patients) == 0:
            raise CohortError("--patients 0 asks for nobody")
        return there[: int(patients)]
    path = Path(patients)
    if not path.is_file():
        raise CohortError(f"--patients takes a number, or a file with one id a line; there is no file {patients}")
    ids = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    unknown = sorted(set(ids) - set(there))
    if unknown or not ids:
        what = f"{len(unknown)} ids, such as {unknown[0]!r}, are" if unknown else "no id is"
        raise CohortError(f"{path.name}: {what} in the collection; its ids are written like {there[0]!r}")
    return ids
