"""Keep identities and the machine's folders out of a page that is passed on."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pandas as pd

from scan2gene.core.study import Study
from scan2gene.core.study_cohort import label_files
from scan2gene.privacy.scrub import telling

_PATTERN_REASON = re.compile(r"\w+ (?:lacks|has) /.*/")  # curation quotes the study's own pattern between slashes
_PART = r"[^\s'\"<>|:;,()]"
_PATH = re.compile(rf"(?<![\w.>])(?:[A-Za-z]:[\\/]|\\\\|~?/)(?:{_PART}+[\\/])+{_PART}+")
# from whole words down to the pieces of a file name such as P001_t1c.nii
_TOKENS = [re.compile(p) for p in (r"[^\s'\":;,()\[\]/\\]+", r"[\w^-]+", r"[A-Za-z0-9^-]+")]
_WORDS = re.compile(r"[^\W\d_]+|\d+")
# Words of which descriptions are made and that name nobody, so that one of a single exam may be shown.
_RADIOLOGY = frozenset(
    _WORDS.findall(
        """mr mri mra mrt irm rm ct pet us t tesla breast breasts mamma mammae mama sein brust brain head neck spine
        cervical thoracic lumbar chest abdomen liver kidney pelvis prostate cardiac heart knee hip shoulder hippocampus
        pituitary orbit orbits skull schaedel schädel cerebral crane crâne bilateral bilat unilateral left right l r lt
        rt both biopsy bx biopsie guided guidance vacuum needle localization localisation marker clip screening
        diagnostic staging follow up followup baseline post pre op preop postop intraoperative surgical planning
        stereotactic stealth navigation therapy radiotherapy research protocol study exam examination routine limited
        complete abbreviated fast repeat outside consult second opinion with without w wo o and or of for in the to mit
        ohne und avec sans et con sin y e contrast kontrast contraste gad gadolinium gd km iv cad dce dwi dti adc flair
        spectroscopy perfusion functional fmri diffusion angio angiography venography dynamic axial coronal sagittal ax
        cor sag d high low resolution implant implants silicone tumor tumour glioma glioblastoma gbm mass lesion cancer
        carcinoma epilepsy stroke ms trauma pediatric adult visit scan imaging"""
    )
)
# Words in the names of makers of scanners.
MAKERS = frozenset(
    _WORDS.findall(
        """siemens healthineers healthcare ge general electric medical medizintechnik systems system philips best canon
        toshiba hitachi fujifilm united imaging uih shanghai esaote bruker biospin varian agilent mr solutions mindray
        neusoft samsung shimadzu marconi picker elscint fonar hyperfine paramed xingaoyi alltech resonance technologies
        technology corporation corp co inc ltd gmbh ag nv bv company manufacturer"""
    )
)
_LONE_NUMBER = re.compile(r"(?<![\w/.-])\d+(?:\.\d+)?(?![\w/])")


@dataclass(frozen=True)
class Redaction:
    """Removes ids of patients, exams and series, and folders, from free text.

    Args:
        ids: Words to remove.
        spaced: Ids and path parts with a space in them, removed as they stand.
        roots: Folders below which everything is removed.
    """

    ids: frozenset[str]
    spaced: tuple[str, ...]
    roots: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """The text with `[id]` and `[path]` where something was removed."""
        for name in self.spaced:
            text = text.replace(name, "[id]")
        for root in self.roots:
            text = re.sub(re.escape(root) + rf"(?:[\\/]{_PART}*)?", "[path]", text)
        if not _PATTERN_REASON.fullmatch(text):
            text = _PATH.sub("[path]", text)
        for token in _TOKENS:
            text = token.sub(lambda m: "[id]" if m[0].strip(".") in self.ids else m[0], text)
        return text


def redaction(study: Study, out: Path, tables: Iterable[pd.DataFrame]) -> Redaction:
    """What must not be printed for this run directory.

    Args:
        study: Its folders.
        out: The run directory.
        tables: Tables with patient_id, exam_id, series_id or path columns.
    """
    ids: set[str] = set()
    parts: set[str] = set()
    for table in tables:
        for column in {"patient_id", "exam_id", "series_id"} & set(table.columns):
            ids |= set(table[column].dropna())
        for path in table["path"].dropna() if "path" in table.columns else ():
            parts |= {p for p in PurePosixPath(path).parts if " " in p}
    named = [*label_files(study.cohort), study.cohort.mutations, study.cohort.sequenced]
    beside = [str(Path(file).parent) for file in named if file]
    folders = {*study.cohort.scans, *beside, str(out.resolve()), str(Path.home())}
    roots = sorted((f for f in folders if len(f) > 1), key=len, reverse=True)
    spaced = sorted({i for i in ids if " " in i and "/" not in i} | parts, key=len, reverse=True)
    return Redaction(frozenset(i for i in ids if telling(i)), tuple(spaced), tuple(roots))


def without_names(text: pd.Series, patients: pd.Series, instead: str, shared: Collection[str] = ()) -> pd.Series:
    """Header texts fit to be shown: those that one patient alone has only where none of their words can be a name.

    Args:
        text: Of each exam or series; null where there is none.
        patients: Whose it is.
        instead: What stands for the others.
        shared: More words that are no names.
    """
    once = text.map(patients.groupby(text).nunique()) == 1
    known = _RADIOLOGY.union(shared)
    named = text.map(
        lambda t: not all(w in known or (w.isdigit() and len(w) < 3) for w in _words(t)), na_action="ignore"
    )
    return text.mask(once & named.eq(True), instead)


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.lower())


def shared_words(text: pd.Series, patients: pd.Series) -> set[str]:
    """Words of descriptions that three patients or more have."""
    several = text.map(patients.groupby(text).nunique()) > 2
    return {word for t in text[several].dropna().unique() for word in _words(t)}


def grouped(reasons: Iterable[tuple[Any, int]], hide: Redaction) -> list[tuple[str, int]]:
    """Reasons with their counts, most frequent first; those that differ only in numbers become one."""
    groups: dict[str, dict[str, int]] = {}
    for reason, count in reasons:
        clean = hide(reason)
        same = groups.setdefault(_LONE_NUMBER.sub("…", clean), {})
        same[clean] = same.get(clean, 0) + count
    merged = [(next(iter(g)) if len(g) == 1 else masked, sum(g.values())) for masked, g in groups.items()]
    return sorted(merged, key=lambda pair: (-pair[1], pair[0]))


def settings(study: Study, hide: Redaction) -> dict[str, Any]:
    """The study's settings, ready to be printed: of paths only the last part, no ids."""
    values = study.model_dump(mode="json")
    cohort = values["cohort"]
    cohort["scans"] = [last_part(p) for p in cohort["scans"]]
    for key in ("labels", "exclude_file"):
        cohort[key] = last_part(cohort[key])
    cohort["same_person"] = ["[id]" for _ in cohort["same_person"]]
    values["evaluate"]["ledger"] = last_part(values["evaluate"]["ledger"])
    values["weights_dir"] = last_part(values["weights_dir"])
    values["cohort"] = _each_text(cohort, lambda t: hide(t) if _absolute(t) or _names_someone(t, hide) else t)
    for key in ("preprocess", "runs", "data", "train"):
        values[key] = _each_text(values[key], lambda t: last_part(t) if _absolute(t) else t)
    return values


def last_part(path: str | None) -> str | None:
    """Last part of a path of any system."""
    return None if path is None else PureWindowsPath(path).name if "\\" in path else PurePosixPath(path).name


def _absolute(text: str) -> bool:
    return bool(_PATH.match(text))


def _names_someone(text: str, hide: Redaction) -> bool:
    return any(m in hide.ids for token in _TOKENS for m in token.findall(text))


def _each_text(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {k: _each_text(v, change) for k, v in value.items()}
    if isinstance(value, list):
        return [_each_text(v, change) for v in value]
    return change(value) if isinstance(value, str) else value
