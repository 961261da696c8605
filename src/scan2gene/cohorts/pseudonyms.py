"""Pseudonyms: what a run directory shows in place of patients, exams, series and paths.

With `cohort.pseudonyms` the truth stays beside the key file. Scans are indexed and exams
curated on true values, so that the study's patterns mean what they say; the tables are veiled
before the run directory gets them, and every later stage sees pseudonyms only.

Beside a key file `key.csv` lie `key.exams.csv` and `key.series.csv`, of the same form, and
`key.index-<hash>.csv`, the true index of the scans. All are readable by their owner only.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from scan2gene.cohorts.curate import Curated, curate, with_patients
from scan2gene.cohorts.flow import Flow
from scan2gene.cohorts.genomics import mutation_ids, named_files
from scan2gene.cohorts.ids import label_patients
from scan2gene.cohorts.keyfile import ALPHABET, LENGTH, pseudonyms, write_private
from scan2gene.cohorts.label_table import read_labels, read_text_table
from scan2gene.cohorts.persons import persons_by_series
from scan2gene.cohorts.scrub import Scrub, name_words, path_parts, telling
from scan2gene.core.errors import RunError, Scan2GeneError, StudyError
from scan2gene.core.study import Study
from scan2gene.core.study_cohort import label_files
from scan2gene.core.tables import read_csv, write_csv

PREFIXES = {"patient_id": "P", "exam_id": "E", "series_id": "S"}
IDENTITY_COLUMNS = ("path", *PREFIXES)  # the study's patterns on these quote what they are to hide
TIMES_OF_DAY = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")
PRIVATE = ("names", "numbers")  # columns that the index beside the key has on top of series.csv
LABEL_SOURCE = "label table"  # file and line would lead back to the patient
RARE = "[in one patient only]"
_OURS = re.compile(rf"[{''.join(PREFIXES.values())}]-[{ALPHABET}]{{{LENGTH}}}")


@dataclass
class Veil:
    """The pseudonyms of one study, and what else it must not show.

    Args:
        study: With true paths and patterns.
        key: The key file.
        ids: Column (patient_id, exam_id, series_id) -> true id -> pseudonym.
        index: The true index, once it is read.
    """

    study: Study
    key: Path
    ids: dict[str, dict[str, str]] = field(default_factory=dict)
    index: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        for column in PREFIXES:
            self.learn(column, ())

    def learn(self, column: str, ids: Iterable[str]) -> None:
        """Give ids their pseudonyms, saved in the key file before anything shows them."""
        kind = {"patient_id": "", "exam_id": ".exams", "series_id": ".series"}[column]
        path = self.key.with_name(f"{self.key.stem}{kind}{self.key.suffix}")
        wanted = {str(i) for i in ids if isinstance(i, str) and i}
        self.ids[column] = pseudonyms(path, column, PREFIXES[column], wanted)
        self.__dict__.pop("_scrub", None)

    def __call__(self, text: str) -> str:
        """A message with pseudonyms for ids, without paths and names."""
        return self.scrub(text)

    @property
    def scrub(self) -> Scrub:
        """What cleans text, made from all that is known by now."""
        if "_scrub" not in self.__dict__:
            self.__dict__["_scrub"] = self._make_scrub()
        return self.__dict__["_scrub"]

    def _make_scrub(self) -> Scrub:
        rules = self.study.cohort
        series = pd.DataFrame(columns=["path", "patient_id", *PRIVATE]) if self.index is None else self.index
        names, numbers = (set(series[c].dropna().str.split("\\").explode()) for c in PRIVATE)
        known = {true: shown for ids in self.ids.values() for true, shown in ids.items()}
        # where a pattern gives the patient's id, the header still has its own
        hidden = {h for h in {*names, *numbers, *series["patient_id"].dropna()} if telling(h)}
        known = dict.fromkeys(hidden, "[id]") | known
        files = set(series["path"].dropna())
        below = {p for f in files for p in (f, *map(str, Path(f).parents)) if p.startswith(tuple(rules.scans))}
        paths = {p: known.get(p, "[path]") for p in below - set(rules.scans)}
        spaced = {i: s for i, s in known.items() if i not in paths and re.search(r"[\s/\\]", i)}
        phrases = {f"/{p}/": "/[pattern]/" for p in self._patterns()} | {str(self.key): "[cohort.pseudonyms]"} | spaced
        single = [(key, getattr(rules, key)) for key in ("mutations", "sequenced", "exclude_file")]
        for named, file in (*[("labels", file) for file in label_files(rules)], *single):
            if file:
                phrases |= {file: f"[cohort.{named}]", Path(file).name: f"[cohort.{named}]"}
        return Scrub(
            phrases=dict(sorted(phrases.items(), key=lambda pair: -len(pair[0]))),
            roots=tuple(sorted(rules.scans, key=len, reverse=True)),
            paths=paths,
            tokens={i.lower(): s for i, s in known.items() if i not in spaced},
            parts=path_parts(files, rules.scans),
            names=name_words(names),
        )

    def _patterns(self) -> set[str]:
        rules = self.study.cohort
        return {p for group in (rules.include, rules.exclude) for c, p in group.items() if c in IDENTITY_COLUMNS}

    def index_path(self, key: str) -> Path:
        """Where the true index of scans in this state is kept."""
        return self.key.with_name(f"{self.key.stem}.index-{key}.csv")

    def read_index(self, key: str, make: Callable[[], pd.DataFrame]) -> None:
        """The true index of these scans: read from beside the key file, or made and kept there.

        Args:
            key: Names the state of the scans.
            make: Indexes them.
        """
        path = self.index_path(key)
        if not path.exists():
            table = make()
            persons = persons_by_series(self.study.cohort.scans)
            uids = table["series_id"].where(table["format"] == "dicom").str.rpartition("/")[0]
            write_private(path, table.assign(**{c: uids.map(persons[c]) for c in PRIVATE}))
        self.index = read_csv(path)
        filled = self._with_patients()
        for column in PREFIXES:
            self.learn(column, filled[column])

    def _truth(self) -> pd.DataFrame:
        if self.index is None:
            raise RunError("the scans are not indexed yet")
        return self.index

    def _with_patients(self) -> pd.DataFrame:
        rules = self.study.cohort
        return with_patients(self._truth().fillna(""), rules.patient_pattern, rules.scans)

    def paths(self) -> dict[str, str]:
        """Pseudonym of every series -> its true path."""
        truth = self._truth()
        return dict(zip(self._shown(truth["series_id"], "series_id"), truth["path"], strict=True))

    def series(self) -> pd.DataFrame:
        """series.csv as the run directory may hold it; `path` is empty."""
        table = self._with_patients().drop(columns=list(PRIVATE))
        for column in table.columns:
            if column in PREFIXES:
                table[column] = self._shown(table[column], column)
            elif column.endswith(("Date", "DateTime")):
                table[column] = table[column].str[:4]
            elif column in TIMES_OF_DAY or column in ("path", "birth_date_number"):
                table[column] = ""
            elif column == "reason":
                table[column] = _each(table[column], self.scrub)
            elif column == "told_apart_by":  # may name a time of day
                times = table[column].str.replace(r"(Time)=[\d.]+", r"\1=[time]", regex=True)
                table[column] = _each(times, self.scrub.description)
            elif column[0].isupper() and not _numbers(table[column]):  # a DICOM keyword
                table[column] = _shared(_each(table[column], self.scrub.description), table["patient_id"])
            elif not _numbers(table[column]):
                table[column] = _each(table[column], self.scrub.description)
        # by pseudonym: the order of true ids or paths would tell who is who
        return table.sort_values(list(PREFIXES), ignore_index=True)

    def curate(self) -> Curated:
        """Curate on true values; what comes back has none.

        Raises:
            CohortError: As `curate`.
        """
        rules = self.study.cohort
        listed = read_labels(rules)
        self.learn("patient_id", named_files(rules))
        self.learn("patient_id", mutation_ids(rules))
        self.learn("patient_id", listed[rules.patient_column])  # as the table writes them, and as the study reads them
        self.learn("patient_id", label_patients(listed, rules, Flow())[rules.patient_column])
        with self._true_exclude_file() as study:
            found = curate(study, self._truth().drop(columns=list(PRIVATE)))
        cohort, out = found.cohort.copy(), found.exclusions.copy()
        self.learn("exam_id", {*cohort["exam_id"], *out["exam_id"]})
        self._learn_strangers(out["patient_id"])
        cohort["date"] = cohort["date"].map(lambda date: date[:4] if isinstance(date, str) else None)
        for column in ("patient_id", "exam_id", *[c for c in cohort.columns if c.startswith("role:")]):
            cohort[column] = self._shown(cohort[column], "series_id" if column.startswith("role:") else column)
        for column in PREFIXES:
            out[column] = self._shown(out[column], column)
        out["reason"] = _each(out["reason"], self.scrub)
        steps = {name: place for place, name in enumerate(out["stage"].unique())}
        out = out.sort_values(["stage", *PREFIXES], key=lambda c: c.map(steps) if c.name == "stage" else c)
        roles = found.roles.assign(reason=_each(found.roles["reason"], self.scrub))
        for column in PREFIXES:
            roles[column] = self._shown(roles[column], column)
        labels = found.labels.assign(source=LABEL_SOURCE)
        labels["patient_id"] = self._shown(labels["patient_id"], "patient_id")
        return replace(
            found,
            cohort=cohort.sort_values(["patient_id", "exam_id"], ignore_index=True),
            labels=labels.sort_values("patient_id", kind="stable", ignore_index=True),
            exclusions=out.reset_index(drop=True),
            roles=roles.sort_values(["patient_id", "exam_id", "role", "series_id"], ignore_index=True),
            flow=[step | {"left_out": self._reasons(step["left_out"])} for step in found.flow],
        )

    def rows(self, excluded: pd.DataFrame) -> pd.DataFrame:
        """Rows of an exclude file (patient_id, series_id, reason) with pseudonyms, which it may hold too."""
        for column in ("patient_id", "series_id"):
            self._learn_strangers(excluded[column])
        shown = {c: self._shown(excluded[c], c) for c in ("patient_id", "series_id")}
        return excluded.assign(**shown, reason=_each(excluded["reason"], self.scrub))

    def _learn_strangers(self, ids: pd.Series) -> None:
        """Ids that an exclude file names and nothing has are taken for patients."""
        known = self.ids["exam_id"].keys() | self.ids["series_id"].keys()
        self.learn("patient_id", {i for i in ids if i not in known and not _OURS.fullmatch(i)})

    def _reasons(self, counts: dict[str, int]) -> dict[str, int]:
        cleaned: dict[str, int] = {}
        for reason, count in counts.items():
            cleaned[self.scrub(reason)] = cleaned.get(self.scrub(reason), 0) + count
        return cleaned

    def _shown(self, ids: pd.Series, column: str) -> pd.Series:
        """Pseudonyms of a column of ids; blank stays blank."""
        # an exclude file's id may be of any kind, and what is a pseudonym already stays one
        known = {t: s for c in PREFIXES if c != column for t, s in self.ids[c].items()} | self.ids[column]
        return ids.map(lambda i: known.get(i, i if _OURS.fullmatch(i) else "[id]") if isinstance(i, str) and i else i)

    @contextlib.contextmanager
    def _true_exclude_file(self) -> Iterator[Study]:
        """The study with an exclude file of true ids: pseudonyms, such as the qc page gives, are translated."""
        rules = self.study.cohort
        if rules.exclude_file is None or not Path(rules.exclude_file).is_file():
            yield self.study
            return
        true = {shown: true for ids in self.ids.values() for true, shown in ids.items()}
        table = read_text_table(Path(rules.exclude_file))
        table = table.apply(lambda cells: cells.str.strip().map(lambda cell: true.get(cell, cell)))
        with tempfile.TemporaryDirectory(dir=self.key.parent, prefix=".") as folder:  # readable by its owner only
            path = Path(folder) / Path(rules.exclude_file).name
            write_csv(path, table)
            yield self.study.model_copy(update={"cohort": rules.model_copy(update={"exclude_file": str(path)})})

    def shown_study(self) -> Study:
        """The study without its paths, and without patterns that are looked for in ids and paths."""
        rules = self.study.cohort

        def hidden(patterns: dict[str, str]) -> dict[str, str]:
            return {c: "[pattern]" if c in IDENTITY_COLUMNS else p for c, p in patterns.items()}

        cohort = rules.model_copy(
            update={
                "scans": ["[cohort.scans]" for _ in rules.scans],
                "labels": "[cohort.labels]" if label_files(rules) else "",
                "mutations": rules.mutations and "[cohort.mutations]",
                "sequenced": rules.sequenced and "[cohort.sequenced]",
                "patient_pattern": rules.patient_pattern and "[pattern]",
                "label_id_pattern": rules.label_id_pattern and "[pattern]",
                "include": hidden(rules.include),
                "exclude": hidden(rules.exclude),
                "exclude_file": rules.exclude_file and "[cohort.exclude_file]",
                "same_person": ["[id]" for _ in rules.same_person],
                "pseudonyms": "[cohort.pseudonyms]",
                "roles": {n: r.model_copy(update={"match": hidden(r.match)}) for n, r in rules.roles.items()},
            }
        )
        ledger = self.study.evaluate.ledger and "[evaluate.ledger]"
        evaluate = self.study.evaluate.model_copy(update={"ledger": ledger})
        runs = [
            r.model_copy(update={"weights": r.weights.model_copy(update={
                "file": r.weights.file and "[weights.file]", "run": r.weights.run and "[weights.run]"})})
            if r.weights else r
            for r in self.study.runs
        ]  # fmt: skip
        weights_dir = self.study.weights_dir and "[weights_dir]"
        return self.study.model_copy(
            update={"cohort": cohort, "evaluate": evaluate, "runs": runs, "weights_dir": weights_dir}
        )

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Clean the message of every error that leaves the block."""
        try:
            yield
        except Scan2GeneError as error:
            raise type(error)(self(str(error))).with_traceback(error.__traceback__) from None
        except ModuleNotFoundError:
            raise  # names a package
        except OSError as error:
            message = f"{error.strerror or type(error).__name__}: {self(str(error.filename or ''))}"
            raise RunError(message.rstrip(": ")).with_traceback(error.__traceback__) from None
        except Exception as error:
            message = f"unexpected {type(error).__name__}: {self(str(error))}"
            raise RunError(message).with_traceback(error.__traceback__) from None


def open_veil(study: Study, out: Path) -> Veil | None:
    """The veil of a study, None when it asks for no pseudonyms.

    Raises:
        StudyError: The key file would lie in the run directory, among the scans, or is another file of the study.
        CohortError: The key file is damaged.
    """
    if study.cohort.pseudonyms is None:
        return None
    key = Path(study.cohort.pseudonyms).resolve()
    for what, folder in (("the run directory", out), *(("cohort.scans", Path(s)) for s in study.cohort.scans)):
        if key.is_relative_to(folder.resolve()):
            raise StudyError(
                f"cohort.pseudonyms lies in {what}, where it would be passed on with what it protects. "
                "Name a file elsewhere, in a folder that only you may read."
            )
    others = [
        p
        for p in (*label_files(study.cohort), study.cohort.exclude_file, study.cohort.mutations, study.cohort.sequenced)
        if p
    ]
    if key.is_dir() or key in [Path(p).resolve() for p in others] or not key.suffix:
        raise StudyError("cohort.pseudonyms must name a CSV file of its own, such as private/key.csv")
    return Veil(study, key)


def _each(column: pd.Series, clean: Callable[[str], str]) -> pd.Series:
    """A column of text cleaned, each different text once."""
    return column.map({text: clean(text) for text in column.unique()})


def _shared(column: pd.Series, patients: pd.Series) -> pd.Series:
    """Header text that several patients have; what one has alone, such as a remark, may tell who it is."""
    words = column.str.contains(r"[^\W\d_]{2}", regex=True)
    return column.mask(words & (patients.groupby(column).transform("nunique") < 2), RARE)


def _numbers(column: pd.Series) -> bool:
    """True for a column of numbers as text; ids that are numbers must not be looked for in measures."""
    return bool(pd.to_numeric(column.replace("", "0"), errors="coerce").notna().all())


def shown_study(study: Study, veil: Veil | None) -> Study:
    """The study as its run directory and report may show it."""
    return study if veil is None else veil.shown_study()
