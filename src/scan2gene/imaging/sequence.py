"""Which MR sequence a series is, and by which rule: T1, T1c, T2, FLAIR, DWI, ADC, DCE or other.

Names come first, because sites name what they mean; timing decides where a name says
nothing. The rule is kept beside the answer, so that a reader can disagree.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

SEQUENCES = ("T1", "T1c", "T2", "FLAIR", "DWI", "ADC", "DCE", "other")


def _words(patterns: str) -> re.Pattern[str]:
    """Any of some words; words begin and end at anything that is no letter or digit."""
    return re.compile(rf"(?:^|[^a-z0-9])(?:{'|'.join(patterns.split())})(?=$|[^a-z0-9])")


# In order; the first that is found in the name decides. '.?' stands for a space, a dash or nothing.
_NAMES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("other", _words(r"loc locali[sz]er?s? scouts? survey \d?.?pl(?:ane)?s?.?loc\w* calib\w* smart.?brain asset")),
    ("other", _words(r"subs? subtr\w* mip ttp screen.?save report phoenix\w* masks? seg\w* labels?")),
    ("ADC", _words(r"e?adc apparent.?diff\w* d?adc.?maps?")),
    ("other", _words(r"fa colfa tensor\w* fractional.?anis\w*")),
    ("other", _words(r"gre.?b0 \w*phase.?diff\w* shim\w* topup t[12]\*?(?:rho)?.?map(?:s|ping)?")),
    ("DWI", _words(r"dwi?\w* dti\w* \w*diff\w* trace\w* b.?\d{3,4} resolve")),
    ("other", _words(r"dsc perf\w* pwi p?c?asl r?cbf r?cbv mtt bold rest swi\w* swan t2.?star t2\* gre.?t2")),
    ("other", _words(r"mra mrv tof\w* angio\w* mrs spectro\w* svs csi \w*b[01].?map\w* \w*field.?map\w* \w*fmap\w*")),
    ("DCE", _words(r"dce\w* dyn\w* vibrant\w* twist\w* 4d.?thrive tricks ph(?:ase)?.?\d+ multi.?phase")),
    ("T1", _words(r"t1\w*.?flair t1.?flair\w*")),
    ("FLAIR", _words(r"t2.?flair\w* \w*flair\w* dark.?fluid tirm.?dark\w*")),
    ("T2", _words(r"t2\w* stir\w* tirm\w* \w*haste\w* ciss fiesta\w*")),
    ("T1", _words(r"t1\w* mp?rage\w* f?spgr\w* bravo vibe\w* flash\w* fl[23]d\w* lava\w* e?thrive\w* tfe\w*")),
    # last: an anatomical scan may say fMRI
    ("other", _words(r"fmri\w* func\w* sbref rest\d+ epi ep[23]d\w* epfid\w*")),
)
# Values of ImageType: of images that are no magnitudes, whatever the name says; and of what is computed from several.
_NO_MAGNITUDE = frozenset({
    "P", "PHASE", "PHASE MAP", "PHASE_CONTRAST", "I", "IMAGINARY", "VELOCITY", "VELOCITY MAP", "FIELD_MAP", "FIELD MAP",
    "B0", "B0 MAP", "B0_MAP", "B1", "B1 MAP", "B1_MAP", "T1 MAP", "T1_MAP", "T2 MAP", "T2_MAP", "T2_STAR MAP",
})  # fmt: skip
_COMPUTED = frozenset(
    {"FMRI", "PERFUSION", "SER", "TTP", "MTT", "CBF", "CBV", "FA", "SUB", *(f"PE{n}" for n in range(1, 10))}
)
_ECHO_PLANAR = re.compile(r"\*?ep(?:i|fid|se|ir|_|\d|$)")  # of SequenceName
_CONTRAST = _words(
    r"t1w?(?:c|ce|km)\d* t1w?(?:gd|gad|post|contrast)\w* post\w* gad\w* gd\w* c\+ \+.?c \+ ce contrast w.?contrast km"
    r" enh\w* delayed"
)
_PLUS_C = re.compile(r"\+\s?(?:c|gd|gad|km)\b|\bc\s?\+|t1\s?\+")
_NATIVE = _words(r"pre\w* non.?con\w* no.?contrast without\w* wo w/o nativ\w* unenh\w* noncontrast nc")

LONG_TR_MS, LONG_TE_MS = 2000.0, 60.0  # beyond both, spin echoes are T2-weighted
FIELD_MAP_TR_MS = 300.0  # from here on, a gradient echo with several short echoes measures the field
SHORT_TR_MS, SHORT_TE_MS = 1000.0, 30.0  # below both, T1-weighted
FLAIR_TI_MS = 1500.0  # inversion times that null fluid; fat is nulled below 300 ms

TIME_POINT = "counts time points"  # said by the rule of a series that is called t0, t1 ...
_TIME_POINT = re.compile(r"(?<![a-z0-9])t(\d{1,2})(?![a-z0-9])", re.IGNORECASE)


def without_time_points(names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Names that differ from others of their folder or exam by a time point alone, without it.

    t0, t1, t2 beside each other are contrast phases or visits and no weighting; t1 and t2 without t0 or t3 are
    T1 and T2.

    Args:
        names: (folder or exam, name of a file or series).

    Returns:
        The names that hold a time point -> the rest of the name, which may be empty.
    """
    marks = [(key, mark) for key in dict.fromkeys(names) for mark in _TIME_POINT.finditer(key[1])]
    numbers: dict[tuple[str, str], set[str]] = {}
    for key, mark in marks:
        numbers.setdefault(_family(key, mark), set()).add(mark[1])
    of_name: dict[str, list[bool]] = {}
    for (_, name), held in numbers.items():
        of_name.setdefault(name, []).append(_is_counted(held))
    # an exam that lacks its t0 is named as the others are
    counted = {name for name, held in of_name.items() if 2 * sum(held) > len(held)}
    cut: dict[tuple[str, str], str] = {}
    for key, mark in reversed(marks):  # the last of a name first, so that the places of the others hold
        family = _family(key, mark)
        if family[1] in counted or _is_counted(numbers[family]):
            rest = cut.get(key, key[1])
            cut[key] = rest[: mark.start()] + rest[mark.end() :]
    return cut


def _family(key: tuple[str, str], mark: re.Match[str]) -> tuple[str, str]:
    return key[0], f"{key[1][: mark.start()]}t#{key[1][mark.end() :]}".lower()


def _is_counted(numbers: set[str]) -> bool:
    """Whether t0, t1, t2 and the like count something: T0 and T3 are no weightings, nor is t01."""
    values = {int(n) for n in numbers}
    return len(values) > 1 and (not values <= {1, 2} or any(n.startswith("0") for n in numbers))


def recognise(header: Mapping[str, str], name: str = "") -> tuple[str, str]:
    """Sequence and the rule that decided.

    Args:
        header: DICOM keywords as text; may be empty. "SeveralEchoes", where there are such, says that the series has
            this image at several echo times.
        name: File name of a NIfTI, taken for the description.

    Returns:
        One of `SEQUENCES`, and in words why.
    """
    image_type = header.get("ImageType", "").upper().split("\\")
    strange = _NO_MAGNITUDE.intersection(image_type)
    if strange:
        return "other", f"ImageType has {min(strange)}"
    for source in ("SeriesDescription", "ProtocolName", "SequenceName"):
        text = name if source == "SeriesDescription" and name else header.get(source, "")
        found = _by_name(text.lower().replace("_", " "))
        if found:
            sequence, word = found
            shown = f"{'file name' if name else source} has '{word}'"
            if sequence != "T1":
                return sequence, shown
            return _with_contrast(header, text.lower().replace("_", " "), shown)
    if "ADC" in image_type:
        return "ADC", "ImageType has ADC"
    if "DIFFUSION" in image_type:
        return "DWI", "ImageType has DIFFUSION"
    if _number(header.get("DiffusionBValue", "")):
        return "DWI", f"b-value {header['DiffusionBValue']}"
    if name:
        return "other", "the file name holds no known word"
    computed = _COMPUTED.intersection(image_type)
    if computed:
        return "other", f"ImageType has {min(computed)}"
    if "EP" in header.get("ScanningSequence", "").upper().split("\\"):
        return "other", "ScanningSequence has EP, echo planar"
    if _ECHO_PLANAR.match(header.get("SequenceName", "").lower()):
        return "other", "SequenceName is that of an echo-planar image"
    return _by_timing(header)


def _by_name(text: str) -> tuple[str, str] | None:
    for sequence, pattern in _NAMES:
        found = pattern.search(text)
        if found:
            return sequence, found[0].strip(" \t-_.,;:()[]/")
    return None


def _with_contrast(header: Mapping[str, str], text: str, shown: str) -> tuple[str, str]:
    native = _NATIVE.search(text)
    if native:
        return "T1", f"{shown} and '{native[0].strip()}'"
    contrast = _PLUS_C.search(text) or _CONTRAST.search(text)
    if contrast:
        return "T1c", f"{shown} and '{contrast[0].strip()}'"
    agent = header.get("ContrastBolusAgent", "").strip().lower()
    if agent and agent not in ("no", "none", "n", "0"):
        return "T1c", f"{shown}, and a contrast agent is recorded"
    return "T1", f"{shown}, and nothing says contrast"


def _by_timing(header: Mapping[str, str]) -> tuple[str, str]:
    tr, te, ti = (_number(header.get(k, "")) for k in ("RepetitionTime", "EchoTime", "InversionTime"))
    if tr is None or te is None:
        return "other", "no name or timing that is known"
    shown = f"TR {tr:g} ms, TE {te:g} ms" + (f", TI {ti:g} ms" if ti else "")
    if ti and ti >= FLAIR_TI_MS and te > LONG_TE_MS:
        return "FLAIR", shown
    if tr >= LONG_TR_MS and te >= LONG_TE_MS:
        return "T2", shown
    if FIELD_MAP_TR_MS <= tr <= SHORT_TR_MS and te <= SHORT_TE_MS and header.get("SeveralEchoes"):
        return "other", f"{shown} and several short echoes, as of a field map"
    if tr <= SHORT_TR_MS and te <= SHORT_TE_MS:
        return _with_contrast(header, "", shown)
    return "other", f"{shown}: neither T1- nor T2-weighted by timing"


def _number(text: str) -> float | None:
    try:
        return float(text.split("\\")[0]) if text else None
    except ValueError:
        return None
