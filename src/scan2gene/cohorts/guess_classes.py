"""Which of two classes is the positive one, by what its word means in the languages of the literature."""

from __future__ import annotations

import re
import unicodedata

# Spelled as `folded` gives them: lower case, without accents. In German, English, French, Spanish, Italian,
# Portuguese, Dutch, Scandinavian languages, Finnish, Polish, Czech, Turkish, Russian, Chinese, Japanese and Korean.
_NO = (
    "0|n|no|nein|non|nao|nee|nej|nei|ei|nie|ne|hayir|yok|нет|否|无|無|無し|いいえ|なし|아니오|없음|false|falsch|faux|falso|-|"
    "neg|negative|negativ|negatif|negativo|negativa|negatief|negatiivinen|ujemny|ujemna|negatywny|negatywna|negativni|"
    "отр|отрицательный|отрицательная|阴性|陰性|음성|"
    "wt|wild|wildtype|wild type|wild-type|wildtyp|wildtypus|sauvage|type sauvage|salvaje|selvaggio|selvagem|野生型|"
    "not_mutated|unmutated|nonmutated|unmethylated|unmethyliert|unmutiert|nonmethylated|unamplified|intact|intakt|retained|"
    "absent|absente|ausente|assente|afwezig|abwesend|fehlt|keine|kein|aucun|aucune|ninguno|ninguna|nessuno|nessuna|"
    "undetected|nondetected|normal|normale|normaal|unauffallig|sain|sana|sano|healthy|gesund|frisk|control|controls|"
    "kontrolle|temoin|controle|benign|benigne|benin|benigno|benigna|gutartig|goedaardig|godartad|godartet|lagodny|"
    "доброкачественный|доброкачественная|良性|low|lgg|niedrig|bas|basse|bajo|baja|basso|bassa|baixo|baixa|laag|lav|lag|"
    "niski|низкий|低|alive|living|lebt|vivant|vivo|viva"
)
_YES = (
    "1|y|yes|j|ja|oui|si|sim|tak|ano|evet|var|kylla|да|是|有|有り|はい|あり|예|있음|true|wahr|richtig|vrai|vero|verdadero|"
    "verdadeiro|+|pos|positive|positiv|positif|positivo|positiva|positief|positiivinen|pozitif|pozitivni|dodatni|dodatnia|"
    "pozytywny|pozytywna|положительный|положительная|阳性|陽性|"
    "mut|mutated|mutant|mutation|mutiert|mute|mutee|mutado|mutada|mutato|mutata|gemuteerd|muterad|mutert|突变|突变型|変異|"
    "変異型|变异|methylated|methyliert|methyle|metilado|metilato|amplified|amplifiziert|amplifie|amplificado|codeleted|"
    "co-deleted|codeletion|deleted|deletion|loss|lost|gain|present|presente|vorhanden|aanwezig|detected|abnormal|auffallig|"
    "case|cases|disease|diseased|cancer|krank|malade|malignant|malign|maligne|malin|maligno|maligna|bosartig|boesartig|"
    "kwaadaardig|elakartad|ondartet|zlosliwy|злокачественный|злокачественная|恶性|惡性|悪性|악성|high|hgg|gbm|hoch|haut|haute|"
    "eleve|elevee|alto|alta|hoog|hoy|hog|wysoki|высокий|高|dead|deceased|verstorben|decede|muerto|morto"
)
_DENYING = (
    "no|not|non|without|kein|keine|keinen|nicht|ohne|sans|pas|sin|senza|sem|nao|geen|niet|zonder|ej|inte|ikke|ingen|brak|"
    "bez|нет|без|не"
)
_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2212"), "-")
LEVELS = re.compile(r"(?<![a-z])(grade|grad|grado|graad|stage|stadium|stade|estadio|who)(?![a-z])")  # columns' names
_LETTERS = _DASHES | {ord("ł"): "l", ord("ø"): "o", ord("æ"): "ae", ord("đ"): "d", ord("ı"): "i"}


def folded(text: object) -> str:
    """Comparable spelling of a word: lower case, without accents, every dash the same."""
    split = unicodedata.normalize("NFKD", str(text).strip().casefold())
    plain = "".join(c for c in split if unicodedata.category(c) != "Mn")
    return " ".join(unicodedata.normalize("NFC", plain).translate(_LETTERS).split())


NEGATIVE, POSITIVE, _NEGATING = (frozenset(map(folded, words.split("|"))) for words in (_NO, _YES, _DENYING))


def sign(cell: object) -> int:
    """1 for a cell that affirms, -1 for one that denies, 0 where it means neither."""
    text = folded(cell)
    if text in NEGATIVE or text in POSITIVE:
        return 1 if text in POSITIVE else -1
    ending = re.search(r"(?:[\w)] ?|^)\(?([-+])\1*\)?$", text)  # ER+, HER2 (-), +++
    if ending:
        return 1 if ending[1] == "+" else -1
    if re.match("[无無未非不]", text):
        return -1
    words = re.findall(r"[^\W_]+", text)
    denied = any(re.match("non|un|nicht", w) and re.sub("^(?:non|un|nicht)", "", w) in POSITIVE for w in words)
    if denied or any(w in _NEGATING or (len(w) > 2 and w in NEGATIVE) for w in words):
        return -1
    return int(any(len(w) > 2 and w in POSITIVE for w in words))


def positive_first(one: str, two: str, column: str = "") -> tuple[str, str] | None:
    """(positive, negative) of two classes, or None where their words do not say.

    Args:
        one: A cell, as `labels.canonical` spells it.
        two: Another.
        column: Name of the column: of grades and stages the higher is positive.
    """
    if LEVELS.search(column):
        levels = level_of(one), level_of(two)
        if levels[0] and levels[1] and levels[0] != levels[1]:
            return (one, two) if levels[0] > levels[1] else (two, one)
    numbers = {cell: float(cell) for cell in (one, two) if re.fullmatch(r"[-+]?\d+(\.\d+)?", cell)}
    if len(numbers) == 2:  # 0 and 1, 0 and 2, -1 and 1; which of 1 and 2 is yes, nobody knows
        low, high = sorted(numbers, key=numbers.__getitem__)
        return (high, low) if numbers[low] == 0 or numbers[low] < 0 < numbers[high] else None
    if numbers:  # beside a number a word often means that nothing is known
        return None
    if {folded(one), folded(two)} in ({"t", "f"}, {"v", "f"}):  # true or vero, false or falso
        return (two, one) if folded(one) == "f" else (one, two)
    signs = sign(one), sign(two)
    if signs[0] == signs[1]:
        return None
    return (one, two) if signs[0] > signs[1] else (two, one)


def level_of(cell: str) -> float:
    """The number in a grade or stage such as G2, IIIa, 3.0; 0 where there is none."""
    found = re.fullmatch(r"\D{0,12}?(\d+(?:\.\d+)?)[a-c]?", cell) or re.fullmatch(
        r"(?:.*[^a-z])?(i{1,3}|iv|v)[a-c]?", cell
    )
    if not found:
        return 0.0
    roman = {"i": 1.0, "ii": 2.0, "iii": 3.0, "iv": 4.0, "v": 5.0}
    return roman[found[1]] if found[1] in roman else float(found[1])
