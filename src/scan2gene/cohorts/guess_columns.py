"""Guess what the columns of a label table are: targets, age, site, dates; and what must not be used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pandas as pd

from scan2gene.cohorts.guess_classes import LEVELS, folded, positive_first, sign
from scan2gene.cohorts.labels import MISSING, SEXES, canonical, parse_number

MIN_MINORITY = 5  # fewer patients of the rarer class cannot be divided into parts
_WILD = {"wildtype", "wild type", "wild-type", "wt", "not_mutated"}
_CHANGED = re.compile(r"(?<![a-z_])(mutated|mutant)(?![a-z])|(?<![a-z])p\.")  # beside wild type: 'IDH1 p.R132H'
UNSURE = {"nos/nec", "nos", "nec", "indeterminate", "equivocal", "borderline", "inconclusive", "not tested", "failed",
           "unbekannt", "inconnu", "inconnue", "desconocido", "sconosciuto", "desconhecido", "onbekend", "ukjent",
           "неизвестно", "未知", "不明", "미상", "?"}  # fmt: skip
GUESSED = "which value is the positive one is a guess: the rarer"
OPEN = "EDIT: which value is the positive one cannot be told, and both are equally frequent"
DESCRIBES = "describes the patient or the scan rather than the disease"
LATER = "known only after the scan: an outcome, or a treatment"
# words of a column's name
_AGE = re.compile(
    r"(?<![a-z])(age|ages|agegroup|alter|edad|eta|idade|leeftijd|alder|ika|wiek|vek|birth\w*|dob|geburt\w*|naissance)"
    r"(?![a-z])|возраст|年[龄齢]|나이"
)
_NOT_AGE = re.compile(r"death|contact|follow|last|mammo|stage|recurrence|bone")
_SEX = re.compile(
    r"(?<![a-z])(sex|gender|sexe|sexo|sesso|geschlecht|genre|genero|genere|geslacht|kon|kjonn|sukupuoli|plec|pohlavi|"
    r"cinsiyet)(?![a-z])|^пол$|性[别別]|성별"
)
_SITE = re.compile(
    r"(?<![a-z])(site|institution|institute|hospital|cent(er|re)|clinic|tss|klinik|klinikum|krankenhaus|zentrum|standort|"
    r"hopital|sitio|ospedale|centro|ziekenhuis|centrum|sygehus|sjukhus|szpital|больница)(?![a-z])|医院|病院|병원"
)
_NOT_SITE = re.compile(r"tumou?r|lesion|location|metast|biopsy|disease|surg")
DATE = re.compile(r"(?<![a-z])(date|day|days)(?![a-z])")
_LATER = re.compile(
    r"surviv|death|dead|alive|vital|recur|progress|follow|outcome|response|(?<![a-z])(os|pfs|dfs|rfs|pcr|censor\w*|"
    r"psp\w*|event\w*|therapy|treatment|chemo\w*|radiation|surgery)(?![a-z])"
)
_NOT_TARGET = re.compile(
    r"(?<![a-z])(fold|split|test|train|race|ethnicity|side|laterality|image|scan|slices?|spacing|manufacturer"
    r"|scanner|vendor|magnet|tesla|hersteller|gerat|feldstarke|fabricante?|produttore|machine|appareil|coil|cohort|project|available|id|pid|mri|position|bolus|contrast|flip|echo|"
    r"reconstruction|thickness|voxel|pixel|resolution|acquisition|protocol|view|rows|columns|matrix|field)(?![a-z])"
)

# by values, whatever the column is called
_MEN = {"m", "male", "man", "mannlich", "mann", "homme", "h", "hombre", "maschio", "masculin", "masculino", "mand",
        "муж", "мужской", "男", "男性", "남", "남성"}  # fmt: skip
_WOMEN = {"f", "female", "w", "woman", "weiblich", "frau", "femme", "mujer", "femmina", "feminin", "femenino",
          "feminino", "vrouw", "v", "k", "kvinna", "kvinde", "kvinne", "жен", "женский", "女", "女性", "여",
          "여성"}  # fmt: skip
_MAKERS = {"ge", "siemens", "philips", "ge medical systems", "siemens healthineers", "philips medical systems",
           "philips healthcare", "canon", "toshiba", "hitachi", "fujifilm", "united imaging", "esaote"}  # fmt: skip
_FIELD = re.compile(r"(0\.35|0\.55?|1|1\.0|1\.5|3|3\.0|7|7\.0) ?t?")  # of a magnet, in tesla
# words of the left and of the right side, by language; of single letters only those that mean nothing else
SIDE_WORDS = tuple(
    (frozenset(left.split()), frozenset(right.split()))
    for left, right in (
        ("left l lt", "right r rt"), ("links li", "rechts re"), ("gauche", "droite droit"),
        ("sinistra sinistro sin sx", "destra destro dx"), ("izquierda izquierdo izq", "derecha derecho der"),
        ("esquerda esquerdo esq", "direita direito dir"), ("vanster", "hoger"), ("venstre", "hojre hoyre"),
        ("lewa lewy lewe", "prawa prawy prawe"), ("vasen", "oikea"), ("左", "右"), ("左侧", "右侧"),
    )
)  # fmt: skip


@dataclass(frozen=True)
class TargetGuess:
    """A column that could be predicted: two classes, several, or numbers above and not above a limit.

    Args:
        column: Its name.
        positive: Values, as they stand in the table; none where there are `classes` or a limit.
        negative: Values.
        unknown: Values that mean "not known" here.
        counts: Scanned patients: positive, negative; or those of each of `classes`.
        doubts: Why it is not chosen by itself; empty where it may be.
        by_meaning: The words tell the positive class; else the rarer is taken for it.
        sides: Columns of the left and of the right side, where the target has one for each; counts are then of sides.
        name: Of the target, where the column's alone would not do.
        classes: Name of each of several classes, and its value.
        unscanned: Values that patients without scans have, and no other.
        above: The limit.
    """

    column: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    unknown: tuple[str, ...]
    counts: tuple[int, ...]
    doubts: tuple[str, ...]
    by_meaning: bool = True
    sides: tuple[str, str] | None = None
    name: str = ""
    classes: tuple[tuple[str, str], ...] = ()
    unscanned: tuple[str, ...] = ()
    above: float | None = None


def guess_targets(table: pd.DataFrame, patient_column: str, scanned: Sequence[str]) -> list[TargetGuess]:
    """Columns, and pairs of a left and a right one, with two classes among scanned patients.

    Returns:
        Best balanced first, doubtful ones last.
    """
    rows = table[table[patient_column].isin(list(scanned))]
    pairs = side_pairs([c for c in table.columns if c and c != patient_column])
    sided = [guess_sided(rows, patient_column, name, *columns) for name, columns in pairs.items()]
    in_pairs = {c for t in sided if t is not None and t.sides for c in t.sides}
    found = [guess_target(rows, patient_column, c) for c in table.columns if c and c != patient_column]
    targets = [t for t in [*sided, *found] if t is not None and min(t.counts) > 0 and t.column not in in_pairs]
    return sorted(targets, key=lambda t: (len(t.doubts), -min(t.counts), -max(t.counts)))


def guess_sided(rows: pd.DataFrame, patient_column: str, name: str, left: str, right: str) -> TargetGuess | None:
    """What the two classes of a pair of columns are, one for each side; counts are of sides."""
    halves = [
        pd.DataFrame({"unit": rows[patient_column] + f"/{side}", name: rows[column]})
        for side, column in (("L", left), ("R", right))
    ]
    found = guess_target(pd.concat(halves, ignore_index=True), "unit", name)
    return found and replace(found, sides=(left, right))


def side_pairs(columns: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Name without its side -> the columns of the left and of the right side, such as 'Benign (L)', 'Benign (R)'."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for column in columns:
        words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column))
        for pair, (left, right) in enumerate(SIDE_WORDS):
            for at, word in enumerate(words):
                if folded(word) in left | right:
                    rest = " ".join(folded(w) for n, w in enumerate(words) if n != at)
                    side = "L" if folded(word) in left else "R"
                    found.setdefault((rest, str(pair)), {}).setdefault(side, column)
    pairs: dict[str, tuple[str, str]] = {}
    for (rest, _), sides in found.items():
        if len(sides) == 2 and len(set(sides.values())) == 2:
            pairs.setdefault(_without_side(sides["L"], rest) or "finding", (sides["L"], sides["R"]))
    return pairs


def _without_side(column: str, rest: str) -> str:
    """The pair's name, spelled as in one of its columns."""
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column))
    kept = next(w for n in range(len(words)) if " ".join(map(folded, w := words[:n] + words[n + 1 :])) == rest)
    return " ".join(kept)


def guess_target(rows: pd.DataFrame, patient_column: str, column: str) -> TargetGuess | None:
    """What a column's two classes are; None where it has not two.

    The positive class is told by its word; where words mean nothing it is the rarer one.

    Args:
        rows: Label rows of scanned patients.
        patient_column: Column of patient ids.
        column: To look at.
    """
    values = rows[column].map(canonical)
    spelled = dict(zip(values, rows[column], strict=True))
    known = set(values) - MISSING
    unknown = tuple(sorted(spelled[v] for v in known & UNSURE))
    doubts = doubts_of(column, known)
    wild, rest = known & _WILD, known - UNSURE - _WILD
    told: tuple[str, str] | None = None
    if len(wild) == 1 and len(rest) > 1 and all(_CHANGED.search(v) for v in rest):
        classes: tuple[list[str], list[str]] = (sorted(rest), sorted(wild))
        by_meaning = True
    elif len(known - UNSURE) == 2:
        one, two = sorted(known - UNSURE)
        told = positive_first(one, two, plain(column))
        classes = ([told[0]], [told[1]]) if told else ([one], [two])
        by_meaning = told is not None
        if told and LEVELS.search(plain(column)) and not sign(told[0]) > sign(told[1]):
            doubts.append("the higher grade or stage is taken as the positive class")
    else:
        return None
    sizes, contradicting = sizes_of(values, classes, rows[patient_column])
    if not by_meaning:
        if sizes[0] > sizes[1]:
            classes, sizes = (classes[1], classes[0]), (sizes[1], sizes[0])
        doubts.append(GUESSED if sizes[0] < sizes[1] else OPEN)
    positive, negative = (tuple(spelled[v] for v in cells) for cells in classes)
    return TargetGuess(column, positive, negative, unknown, sizes, (*doubts, *contradicting), by_meaning)


def sizes_of(
    values: pd.Series, classes: tuple[list[str], list[str]], patients: pd.Series
) -> tuple[tuple[int, int], list[str]]:
    """Patients of both classes, and what is doubtful about them."""
    by_patient = values.map(dict.fromkeys(classes[0], 1) | dict.fromkeys(classes[1], 0)).groupby(patients)
    contradicting = int((by_patient.nunique() > 1).sum())
    doubts = [f"{contradicting} patients have contradicting rows"] if contradicting else []
    first = by_patient.first()
    sizes = (int((first == 1).sum()), int((first == 0).sum()))
    if min(sizes) < MIN_MINORITY:
        doubts.append(f"only {min(sizes)} of the rarer class")
    return sizes, doubts


def doubts_of(column: str, known: set[str]) -> list[str]:
    """Why a column is not drafted by itself, by its name and by its values."""
    words = f"{plain(column)} {folded(column)}"
    named = any(
        pattern.search(words) and not (but and but.search(words))
        for pattern, but in ((_NOT_TARGET, None), (_SEX, None), (_AGE, _NOT_AGE), (_SITE, _NOT_SITE))
    )
    found = []
    if named or _tells_sex_or_scanner({folded(v) for v in known - UNSURE}):
        found.append(DESCRIBES)
    if _LATER.search(words):
        found.append(LATER)
    return found


def _tells_sex_or_scanner(values: set[str]) -> bool:
    if len(values) < 2:
        return False
    sexes = len(values) <= 3 and values & _MEN and values & _WOMEN
    fields = all(map(_FIELD.fullmatch, values)) and any("1.5" in v or v.endswith("t") for v in values)
    return bool(sexes or values <= _MAKERS or fields)


def is_age(column: str) -> bool:
    """True where a column is named as one of ages at the scan or diagnosis."""
    words = plain(column)
    return bool(_AGE.search(words) and not _NOT_AGE.search(words))


def is_sex(column: str) -> bool:
    """True where a column is named as one of sexes."""
    return bool(_SEX.search(plain(column)))


def guess_age(table: pd.DataFrame, taken: Sequence[str]) -> tuple[str | None, list[str], list[str]]:
    """The column of ages, cells in it that must mean "not known", and remarks on columns that cannot serve.

    Age is the one column offered as a clinical baseline by itself; others may be made from the
    outcome or become known later, and a person must decide.
    """
    remarks: list[str] = []
    for column in table.columns:
        if column in taken or not is_age(column):
            continue
        known = table[column][~table[column].str.lower().isin(MISSING)]
        numbers = known.map(parse_number)
        strange = sorted(set(known[numbers.isna()]))
        if numbers.notna().any() and numbers.dropna().between(0, 120).all():
            if all(re.fullmatch(r"\W{2,}|[A-Za-z]{2,4}", cell) for cell in strange):
                return column, strange, remarks
            remarks.append(f"{column} holds cells that are no numbers, such as {strange[0]!r}")
    return None, [], remarks


def guess_sex(table: pd.DataFrame) -> tuple[str | None, str]:
    """The column of sexes if it holds two numbers or their words, else a remark."""
    for column in table.columns:
        if is_sex(column):
            known = set(table[column].map(canonical)) - MISSING
            if len(known) == 2 and (known <= {"0", "1", "2"} or known <= set(SEXES)):
                return column, ""
            return None, f"{column} does not hold two sexes, in words or as numbers"
    return None, ""


def guess_site(table: pd.DataFrame, patient_column: str, scanned: Sequence[str]) -> tuple[str, dict[str, int]] | None:
    """A column that names institutions, and how many scanned patients each has."""
    rows = table[table[patient_column].isin(list(scanned))].drop_duplicates(patient_column)
    for column in table.columns:
        words = plain(column)
        if column == patient_column or not _SITE.search(words) or _NOT_SITE.search(words):
            continue
        counts = rows.loc[~rows[column].str.lower().isin(MISSING), column].value_counts()
        if 2 <= len(counts) <= max(2, len(rows) / 3):
            return column, {str(k): int(v) for k, v in counts.items()}
    return None


def date_columns(table: pd.DataFrame) -> list[str]:
    """Columns whose names speak of dates or days, except those of the time after the scan."""
    return [c for c in table.columns if DATE.search(plain(c)) and not _LATER.search(plain(c).replace("surgery", ""))]


def plain(column: str) -> str:
    """A column's name in lower case without accents, camelCase and underscores taken apart."""
    return folded(re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", column))
