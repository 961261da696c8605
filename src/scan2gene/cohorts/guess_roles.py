"""Guess which series is what: from the index's sequence, descriptions, or file names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from scan2gene.cohorts.draft_text import unique
from scan2gene.cohorts.guess_phases import phases
from scan2gene.core.text import clauses
from scan2gene.imaging.sequence import TIME_POINT, without_time_points

_MASK = {"mask", "masks", "seg", "segm", "segs", "segmentation", "segmentations", "dseg", "label", "labels", "labelsTr",
         "lesion", "roi", "rois", "tumor", "tumour", "tumormask", "contour"}  # fmt: skip
_CONTRAST = {"c", "ce", "gd", "gad", "gado", "post", "contrast", "gadolinium", "postcontrast", "enhanced"}
_NAMED = {
    "t1": ("t1", "t1w", "t1n", "mprage"), "t1c": ("t1c", "t1ce", "t1gd", "t1post", "t1cw", "t1wce", "t1km"),
    "t2": ("t2", "t2w"), "flair": ("flair", "t2f", "t2flair"), "adc": ("adc",), "dwi": ("dwi", "diff", "b1000"),
    "dce": ("dce", "dyn", "dynamic", "perfusion"), "swi": ("swi",),
}  # fmt: skip
# for headers: the first that is found
_DESCRIBED = (
    ("flair", r"flair"), ("adc", r"\badc\b|apparent"), ("dwi", r"dwi|diff"), ("dce", r"\bdce\b|dynam|\bdyn\b"),
    ("t1c", r"t1.*(?:\+ ?c\b|post|gd|gad|contrast)|(?:post|gd|gad|\+c).*t1"), ("t1", r"t1|mprage|spgr|bravo"),
    ("t2", r"t2"),
)  # fmt: skip
_SEQUENCES = {"T1": "t1", "T1c": "t1c", "T2": "t2", "FLAIR": "flair", "DWI": "dwi", "ADC": "adc", "DCE": "dce"}
_SUFFIX = re.compile(
    r"\.(nii|nrrd|nhdr|mha|mhd|mgh|mgz|img)(?:\.gz)?(?:#\d+)?$", re.IGNORECASE
)  # of files that are no DICOM
_ENUMERATED = 6  # more descriptions than this are not listed one by one
MANDATORY, RARE = 0.95, 0.3  # share of exams: below the first a role is optional, below the second it is a comment


@dataclass(frozen=True)
class RoleGuess:
    """One role.

    Args:
        name: Such as t1c or mask.
        column: Of series.csv.
        pattern: That picks exactly these series.
        kind: "intensity" or "label".
        patients: How many have it.
        series: How many series it picks.
        why: What was seen.
        also: Further columns and patterns that must be found.
    """

    name: str
    column: str
    pattern: str
    kind: str
    patients: int
    series: int
    why: str
    also: tuple[tuple[str, str], ...] = ()


def guess_roles(series: pd.DataFrame, below: Sequence[str], patients: Sequence[str]) -> list[RoleGuess]:
    """Roles that can be told apart: images before masks, those that most patients have first.

    Args:
        series: Readable rows of the index, text without nulls.
        below: Their paths from the scan folder down.
        patients: Whose they are; empty where not known.
    """
    series = series.assign(below=list(below), who=list(patients))
    series = _with_folders(series[series["who"] != ""])
    named = {i: _name(row) for i, row in zip(series.index, series.to_dict("records"), strict=True)}
    series = series.assign(guess=pd.Series(named, dtype=object))
    series, volumes = _with_phases(series)
    found = []
    for name, rows in series.groupby("guess"):
        if name:
            found += _volume_phase(str(name), rows, series) if name in volumes else _guess(str(name), rows, series)
    if not any(g.kind == "intensity" for g in found):
        found += _anything(series)
    found.sort(key=lambda g: (g.kind == "label", -g.patients, *_in_turn(g.name)))
    return [replace(g, name=name) for g, name in zip(found, unique(g.name for g in found), strict=True)]


def _with_folders(series: pd.DataFrame) -> pd.DataFrame:
    """The series with `flat`: the name of a folder that holds one file kind of many patients, which then are one exam.

    Folders t0, t1, t2 beside each other count time points, as files do.
    """
    folders = series["below"].map(lambda path: path.rpartition("/")[0])
    many = (series["format"] != "dicom") & (series["who"].groupby(folders).transform("nunique") > 1)
    named = [(f.rpartition("/")[0], f.rpartition("/")[2]) for f in folders]
    cut = without_time_points(dict.fromkeys(named))
    counted = pd.Series([n in cut for n in named], series.index, dtype=bool)
    rules = series.get("sequence_rule", pd.Series("", index=series.index)).astype(str)
    return series.assign(
        flat=folders.str.rpartition("/")[2].where(many, ""),
        exam_id=series["exam_id"].where(~many, folders.str.rpartition("/")[0]),
        sequence_rule=rules.where(~counted, rules + f"; its folder {TIME_POINT}"),
    )


def _in_turn(name: str) -> tuple[str, int]:
    """Order of names: pre, post1, post2, ... post10."""
    phase = re.fullmatch(r"(post|phase)(\d+)", name)
    return ("post", int(phase[2]) if phase else 0) if phase or name == "pre" else (name, 0)


def _with_phases(series: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    """Series with the contrast phases as guesses of their own, and those phases that are volumes of one series."""
    is_dicom = series["format"] == "dicom"
    whose = zip(series["flat"], series["path"], series["who"], strict=True)
    names = [f"{flat} {_rest(path, who)}" for flat, path, who in whose]
    called = series["SeriesDescription"].where(is_dicom, pd.Series(names, series.index, dtype=object))
    for group in (("dce",), ("t1", "t1c"), ("",)):
        rows = series[series["guess"].isin(group)].assign(called=called)
        if "" in group:
            rows = rows[rows["format"] != "dicom"]
        found, by_volume = phases(rows, lambda exam: bool(exam["guess"].duplicated().any()))
        if (found != "").any() and not (by_volume and "" in group):
            # what is told apart in no exam, such as a map made of the phases, is left without a role
            return series.assign(guess=series["guess"].mask(series.index.isin(rows.index), found)), (
                set(found) - {""} if by_volume else set()
            )
    return series, set()


def _volume_phase(name: str, rows: pd.DataFrame, series: pd.DataFrame) -> list[RoleGuess]:
    """A phase that is one of the volumes of a series: the series, and the number of the volume."""
    parts = series[series["series_id"].map(_base).isin(set(rows["series_id"].map(_base)))]
    numbers = sorted({str(i).removeprefix(_base(str(i)))[1:] for i in rows["series_id"]})
    found = []
    for guess in _guess(name, parts, series.assign(guess=series["guess"].where(~series.index.isin(parts.index), name))):
        mine = rows if guess.column in ("sequence", "path") else rows[rows["format"] == "dicom"]
        volume = ("series_id", f"[/#]{numbers[0]}$" if len(numbers) == 1 else f"[/#](?:{'|'.join(numbers)})$")
        why = f"{guess.why}; volume {', '.join(numbers)} in the scanner's order"
        found.append(
            RoleGuess(name, guess.column, guess.pattern, "intensity", mine["who"].nunique(), len(mine), why, (volume,))
        )
    return found[:1]


def _base(series_id: str) -> str:
    return re.sub(r"[/#]\d+$", "", series_id)


def sequence_of(row: Mapping[str, Any], role: str) -> str:
    """Key such as t1c of a series: what the index says, else what its role is called, else its headers and name."""
    known = _SEQUENCES.get(str(row.get("sequence") or ""))
    return known or _by_name(f"/{role}") or _name(dict(row) | {"below": row["path"]})


def _name(row: dict) -> str:
    """Role of one series; empty where nothing tells."""
    if row["format"] != "dicom" and _tokens(row["below"]) & {m.lower() for m in _MASK}:
        return "mask"
    known = _SEQUENCES.get(str(row.get("sequence") or ""))
    if known:
        return known
    if row["format"] != "dicom":
        return _by_name(row["below"], counted=TIME_POINT in str(row.get("sequence_rule")))
    text = f"{row['SeriesDescription']} {row.get('ProtocolName', '')}".lower()
    return next((name for name, pattern in _DESCRIBED if re.search(pattern, text)), "")


def _by_name(path: str, counted: bool = False) -> str:
    """Role that a path's words tell; `counted`: t1 and t2 in it are time points."""
    tokens = _tokens(path) - ({"t1", "t2"} if counted else set())
    for name in ("t1c", "flair", "adc", "dwi", "dce", "swi", "t1", "t2"):
        if tokens & set(_NAMED[name]):
            return "t1c" if name == "t1" and tokens & _CONTRAST else name
    return ""


def _tokens(path: str) -> set[str]:
    """Words of a file's name and of its folder's, lower case."""
    last = path.split("/")[-2:]
    return {w for part in last for w in re.split(r"[^a-z0-9]+", _SUFFIX.sub("", part.lower()))} - {""}


def _guess(name: str, rows: pd.DataFrame, series: pd.DataFrame) -> list[RoleGuess]:
    """One guess by sequence, else one per format, since headers and file names are matched in different columns."""
    kind = "label" if name == "mask" else "intensity"
    others = series[series["guess"] != name]
    whole = _by_sequence(rows, others)
    if whole:
        return [RoleGuess(name, *whole[:2], kind, rows["who"].nunique(), len(rows), whole[2])]
    found: list[RoleGuess] = []
    for form, own in rows.groupby(rows["format"].where(rows["format"] == "dicom", "file")):
        rivals = others[others["guess"] != ""]
        picked = _by_path(own, rivals, others) if form == "file" else _by_description(own, others)
        if picked:
            column, pattern, why = picked
            unique = name if not found else f"{name}-{form}"
            found.append(RoleGuess(unique, column, pattern, kind, own["who"].nunique(), len(own), why))
    return found


def _by_sequence(rows: pd.DataFrame, others: pd.DataFrame) -> tuple[str, str, str] | None:
    if "sequence" not in rows or rows["sequence"].nunique() != 1 or rows["sequence"].iloc[0] not in _SEQUENCES:
        return None
    word = str(rows["sequence"].iloc[0])
    return None if (others["sequence"] == word).any() else ("sequence", word, f"sequence {word}")


def _by_description(rows: pd.DataFrame, others: pd.DataFrame) -> tuple[str, str, str] | None:
    counts = rows["SeriesDescription"].value_counts()
    told = clauses((f"{n} x {text!r}" for text, n in counts.items()), 4, "description")
    tries = [pattern for name, pattern in _DESCRIBED if name == rows["guess"].iloc[0]]
    if len(counts) <= _ENUMERATED and (counts.index != "").all():
        tries.append("^(?:" + "|".join(literal(text) for text in counts.index) + ")$")
    earlier = [pattern for name, pattern in _DESCRIBED]
    if tries and tries[0] in earlier:
        before = "|".join(earlier[: earlier.index(tries[0])])
        tries.append(f"^(?!.*(?:{before})).*(?:{tries[0]})" if before else tries[0])
    for pattern in tries:
        if _picks(pattern, rows["SeriesDescription"], others["SeriesDescription"]):
            return "SeriesDescription", pattern, told
    return None


def _by_path(rows: pd.DataFrame, rivals: pd.DataFrame, others: pd.DataFrame) -> tuple[str, str, str] | None:
    """The end of the file names, else their folder; the shortest that picks these files and no other."""
    for against in (others, rivals):
        short, longer = _endings(rows, 1), _endings(rows, 2)
        if short is None:  # the names say only whose they are
            tries = [_folders(rows), _suffix(rows), _but(_suffix(rows), against)]
        elif longer and re.search(r"[-_./ ]\d+[-_./ ]", longer):  # a lone number is a visit; others have another
            tries = [short, _but(short, against), longer, _folders(rows), _endings(rows, 9)]
        else:
            tries = [short, longer, _but(short, against), _folders(rows), _endings(rows, 9)]
        for pattern in tries:
            if pattern and _picks(pattern, rows["path"], against["path"]):
                return "path", pattern, f"files such as {rows['below'].iloc[0].rpartition('/')[2]}"
    return None


def _endings(rows: pd.DataFrame, parts: int) -> str | None:
    """The last parts of the file names between delimiters, ids left out."""
    ends: Counter[str] = Counter()
    for path, who in zip(rows["below"], rows["who"], strict=True):
        cut = re.findall(r"[-_./ ]?[^-_./ ]+", _rest(path, who))[-parts:]
        ends["".join(cut)] += 1
    if "" in ends or len(ends) > _ENUMERATED:
        return None
    words = sorted(literal(e) for e in ends)
    return (words[0] if len(words) == 1 else f"(?:{'|'.join(words)})") + _suffix(rows)


def _suffix(rows: pd.DataFrame) -> str:
    """Pattern of the suffixes, without what packs them."""
    found = (_SUFFIX.search(path) for path in rows["below"])
    words = sorted({match[1].lower() for match in found if match})
    return r"\." + (words[0] if len(words) == 1 else f"(?:{'|'.join(words)})")


def _rest(path: str, who: str) -> str:
    """What a file's name says beside whose it is; begins with / where it is the whole name."""
    name = _SUFFIX.sub("", path.rpartition("/")[2])
    return name.rpartition(who)[2] if who in name else "/" + name


def _but(ending: str, others: pd.DataFrame) -> str | None:
    """Files with an ending, except those of others that share it: _T1w, but not -gadolinium_T1w."""
    longer = _endings(others[others["path"].str.contains(ending, case=False)], 2)
    return f"^(?!.*{longer}).*{ending}" if longer else None


def _folders(rows: pd.DataFrame) -> str | None:
    names = sorted({path.split("/")[-2] for path in rows["below"] if path.count("/") > 1})
    if not names or len(names) > _ENUMERATED or any(path.count("/") < 2 for path in rows["below"]):
        return None
    words = [literal(n) for n in names]
    return f"/{words[0] if len(words) == 1 else '(?:' + '|'.join(words) + ')'}/[^/]*$"


def _anything(series: pd.DataFrame) -> list[RoleGuess]:
    """No sequence is known: a role per name that patients share, or `image` where there is one."""
    rows, others = series[series["guess"] == ""], series[series["guess"] != ""]
    dicom, nifti = (rows[(rows["format"] == "dicom") == is_dicom] for is_dicom in (True, False))
    if len(dicom):
        common = dicom.groupby("SeriesDescription")["who"].nunique().idxmax()
        rest = dicom[dicom["SeriesDescription"] != common]
        dicom = dicom[dicom["SeriesDescription"] == common].assign(guess="image")
        picked = _by_description(dicom, rest) if common else None
        picked = picked or ("SeriesDescription", "", "no description tells what the series are")
        return [RoleGuess("image", *picked[:2], "intensity", dicom["who"].nunique(), len(dicom), picked[2])]
    names = pd.Series([_rest(p, w) for p, w in zip(nifti["below"], nifti["who"], strict=True)], nifti.index, dtype=str)
    shared = names[names.map(nifti["who"].groupby(names).nunique()) > 1]
    found = []
    for name, mine in nifti.loc[shared.index].groupby(shared):
        rivals = pd.concat([others, nifti.drop(mine.index)])
        picked = _by_path(mine, rivals, rivals)
        role = re.sub(r"[^A-Za-z0-9]+", "-", str(name)).strip("-") if shared.nunique() > 1 else "image"
        role = f"image-{role}" if role[:1].isdigit() else role  # _0000, _0001: channels, or phases
        if picked:
            found.append(
                RoleGuess(role or "image", *picked[:2], "intensity", mine["who"].nunique(), len(mine), picked[2])
            )
    if not found and len(nifti):
        picked = _by_path(nifti, others, others) or ("path", _suffix(nifti), "every file")
        found = [RoleGuess("image", *picked[:2], "intensity", nifti["who"].nunique(), len(nifti), picked[2])]
    return found


def _picks(pattern: str, rows: Iterable[str], others: Iterable[str]) -> bool:
    """True for a pattern found in all of `rows` and none of `others`, case ignored as in a study."""
    found = re.compile(pattern, re.IGNORECASE)
    return all(found.search(text) for text in rows) and not any(found.search(text) for text in others)


def literal(text: str) -> str:
    """Escaped for a regular expression, with no more backslashes than needed."""
    return re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", text)
