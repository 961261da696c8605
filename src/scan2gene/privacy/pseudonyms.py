"""Pseudonyms: what a run directory shows in place of patients, exams, series and paths.

With `cohort.pseudonyms` the true ids stay beside the key file. Scans are indexed and exams
curated on true values, so that the study's patterns mean what they say; ids are replaced
before the run directory gets the tables, and every later stage sees pseudonyms only.

Beside a key file `key.csv` lie `key.exams.csv` and `key.series.csv`, of the same form, and
`key.index-<hash>.csv`, the true index of the scans. All are readable by their owner only.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from scan2gene.core.errors import RunError, Scan2GeneError, StudyError
from scan2gene.core.study import Study
from scan2gene.core.study_cohort import label_files
from scan2gene.core.tables import read_csv
from scan2gene.imaging.patients import with_patients
from scan2gene.privacy.keyfile import ALPHABET, LENGTH, pseudonyms, write_private
from scan2gene.privacy.persons import persons_by_series
from scan2gene.privacy.scrub import Scrub, name_words, path_parts, telling

PREFIXES = {"patient_id": "P", "exam_id": "E", "series_id": "S"}
IDENTITY_COLUMNS = ("path", *PREFIXES)  # the study's patterns on these quote what they are to hide
TIMES_OF_DAY = ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime")
PRIVATE = ("names", "numbers")  # columns that the index beside the key has on top of series.csv
RARE = "[in one patient only]"
_OURS = re.compile(rf"[{''.join(PREFIXES.values())}]-[{ALPHABET}]{{{LENGTH}}}")


@dataclass
class Pseudonymiser:
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
        files_of = [(f"cohort.{named}", file) for named, file in single]
        files_of += [("cohort.labels", file) for file in label_files(rules)]
        files_of += [("features.table", block.table) for block in self.study.features.values()]
        for named, file in files_of:
            if file:
                phrases |= {file: f"[{named}]", Path(file).name: f"[{named}]"}
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

    def read_no_index(self, columns: Sequence[str]) -> None:
        """In place of `read_index` in a study without scans: an index without rows."""
        self.index = pd.DataFrame(columns=[*columns, *PRIVATE], dtype=str)

    def truth(self) -> pd.DataFrame:
        """The true index.

        Raises:
            RunError: It is not read yet.
        """
        if self.index is None:
            raise RunError("the scans are not indexed yet")
        return self.index

    def _with_patients(self) -> pd.DataFrame:
        rules = self.study.cohort
        return with_patients(self.truth().fillna(""), rules.patient_pattern, rules.scans)

    def paths(self) -> dict[str, str]:
        """Pseudonym of every series -> its true path."""
        truth = self.truth()
        return dict(zip(self.shown(truth["series_id"], "series_id"), truth["path"], strict=True))

    def series(self) -> pd.DataFrame:
        """series.csv as the run directory may hold it; `path` is empty."""
        table = self._with_patients().drop(columns=list(PRIVATE))
        for column in table.columns:
            if column in PREFIXES:
                table[column] = self.shown(table[column], column)
            elif column.endswith(("Date", "DateTime")):
                table[column] = table[column].str[:4]
            elif column in TIMES_OF_DAY or column in ("path", "birth_date_number"):
                table[column] = ""
            elif column == "reason":
                table[column] = each_text(table[column], self.scrub)
            elif column == "told_apart_by":  # may name a time of day
                times = table[column].str.replace(r"(Time)=[\d.]+", r"\1=[time]", regex=True)
                table[column] = each_text(times, self.scrub.description)
            elif column[0].isupper() and not _numbers(table[column]):  # a DICOM keyword
                table[column] = _shared(each_text(table[column], self.scrub.description), table["patient_id"])
            elif not _numbers(table[column]):
                table[column] = each_text(table[column], self.scrub.description)
        # by pseudonym: the order of true ids or paths would tell who is who
        return table.sort_values(list(PREFIXES), ignore_index=True)

    def rows(self, excluded: pd.DataFrame) -> pd.DataFrame:
        """Rows of an exclude file (patient_id, series_id, reason) with pseudonyms, which it may hold too."""
        for column in ("patient_id", "series_id"):
            self.learn_strangers(excluded[column])
        shown = {c: self.shown(excluded[c], c) for c in ("patient_id", "series_id")}
        return excluded.assign(**shown, reason=each_text(excluded["reason"], self.scrub))

    def learn_strangers(self, ids: pd.Series) -> None:
        """Ids that an exclude file names and nothing has are taken for patients."""
        known = self.ids["exam_id"].keys() | self.ids["series_id"].keys()
        self.learn("patient_id", {i for i in ids if i not in known and not _OURS.fullmatch(i)})

    def shown(self, ids: pd.Series, column: str) -> pd.Series:
        """Pseudonyms of a column of ids; blank stays blank."""
        # an exclude file's id may be of any kind, and what is a pseudonym already stays one
        known = {t: s for c in PREFIXES if c != column for t, s in self.ids[c].items()} | self.ids[column]
        return ids.map(lambda i: known.get(i, i if _OURS.fullmatch(i) else "[id]") if isinstance(i, str) and i else i)

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
        features = {
            name: block.model_copy(update={"table": block.table and "[features.table]"})
            for name, block in self.study.features.items()
        }
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
            update={
                "cohort": cohort,
                "features": features,
                "evaluate": evaluate,
                "runs": runs,
                "weights_dir": weights_dir,
            }
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


def pseudonymiser(study: Study, out: Path) -> Pseudonymiser | None:
    """What gives pseudonyms to a study, None when it asks for none.

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
    return Pseudonymiser(study, key)


def each_text(column: pd.Series, clean: Callable[[str], str]) -> pd.Series:
    """A column of text cleaned, each different text once."""
    return column.map({text: clean(text) for text in column.unique()})


def _shared(column: pd.Series, patients: pd.Series) -> pd.Series:
    """Header text that several patients have; what one has alone, such as a remark, may tell who it is."""
    words = column.str.contains(r"[^\W\d_]{2}", regex=True)
    return column.mask(words & (patients.groupby(column).transform("nunique") < 2), RARE)


def _numbers(column: pd.Series) -> bool:
    """True for a column of numbers as text; ids that are numbers must not be looked for in measures."""
    return bool(pd.to_numeric(column.replace("", "0"), errors="coerce").notna().all())


def shown_study(study: Study, names: Pseudonymiser | None) -> Study:
    """The study as its run directory and report may show it."""
    return study if names is None else names.shown_study()
