"""The sentences of a verdict: figures and a kind in, plain words out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from scan2gene.core.levels import CHANCE
from scan2gene.core.text import capitalised, difference_text, estimate_text, listed, number_text, p_text
from scan2gene.evaluate.facts import Facts, WholeFacts, called, tried
from scan2gene.evaluate.shortcuts import percent
from scan2gene.evaluate.underfit import UNDERTRAINED
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.power import detectable_auroc, patients_needed, patients_needed_for_difference

Kind = Literal["leak", "unknown", "chance", "worse", "shortcut", "unproven", "better"]
WORTH = 0.65  # the AUROC for which a sample size is named where nothing was shown
UNSURE = 3.0  # width of the interval of a calibration slope that says nothing
MOST = 100_000  # patients; beyond, no number is named


def sentences(facts: Facts, kind: Kind, reads_scanner: bool) -> Iterator[str]:
    """The paragraph of a verdict.

    Args:
        facts: What is known.
        kind: By the rules.
        reads_scanner: Whether scan metadata alone do as well.
    """
    yield _meaning(facts, kind, reads_scanner)
    if facts.adds:
        yield from _added(facts)
    yield from _learned(facts, kind)
    yield from facts.leaks
    yield _figures(facts, kind)
    if kind != "unknown":
        for part in (
            _baselines(facts), _lesion(facts, kind), _marks(facts), _transfer(facts), _calibration(facts, kind)
        ):  # fmt: skip
            yield from part
        yield from facts.gaps
        yield from _needed(facts, kind)
    yield from facts.suspicions


def whole_sentences(whole: WholeFacts, kind: Kind, headlines: Mapping[str, str]) -> Iterator[str]:
    """The paragraph of a verdict on a target of several classes.

    Args:
        whole: What is known.
        kind: By the rules.
        headlines: Class -> what is said of it against the rest.
    """
    classes, subject = list(whole.classes.values()), whole.run if whole.members else f"The {whole.noun}"
    yield {
        "leak": "Mend what leaks and run again; until then every figure below may flatter.",
        "chance": f"This study does not show that scans tell the classes of {whole.target} apart; it does not rule it "
        "out.",
        "worse": "The answers go the wrong way: look whether classes are exchanged.",
        "shortcut": f"{subject} may tell classes apart by something other than the disease; their verdicts name it.",
        "unproven": f"Something in the pictures goes with {whole.target}; that it is the disease is not shown.",
        "better": f"The scans hold something about {whole.target}.",
    }.get(kind, "")
    yield from dict.fromkeys(s for facts in classes for s in facts.leaks)
    if whole.auroc.value is None or whole.p is None:
        yield f"{whole.target} cannot be estimated as a whole, because {whole.auroc.reason or 'it has no P value'}."
    else:
        which = called(whole.run, whole.networks, whole.noun, whole.members)
        numbers = listed(f"{facts.n_positive} {label}" for label, facts in whole.classes.items())
        corrected = f", corrected for {whole.tested} comparisons" if whole.tested > 1 else ""
        yield (
            f"{which} has a macro AUROC of {estimate_text(whole.auroc)}, the mean over classes of each "
            f"against the rest, where guessing gives 0.5: {whole.n} test patients ({numbers}), "
            f"{p_text(whole.p)}{corrected}."
        )
        yield from (
            f"{label} against the rest, AUROC {estimate_text(facts.auroc)}: {headlines[label]}."
            for label, facts in whole.classes.items() if facts.auroc.value is not None
        )  # fmt: skip
    yield from dict.fromkeys(s for facts in classes for s in facts.suspicions)


def _meaning(facts: Facts, kind: Kind, reads_scanner: bool) -> str:
    """What the headline means, for somebody who reads no figures."""
    if kind == "shortcut" and reads_scanner:
        return f"What {facts.it} has learned may be where and how a patient was scanned, not the disease."
    if kind == "shortcut" and (facts.cues or facts.alone):
        return f"What {facts.it} has learned may be a mark in the pictures, not the disease: look at the places below."
    if kind == "shortcut":
        whose = f"{facts.subject} keeps most of its skill"
        return f"{whose} without seeing the lesion, so most of it rests on something else."
    if kind == "unproven":
        known = " or ".join(name for name, b in tried(facts) if not b.beaten)
        if not known:
            return f"Something in the pictures goes with {facts.name}; that it is the disease is not shown."
        return f"{facts.subject} knows something of {facts.name}, but perhaps nothing that {known} do not tell."
    beside = f" that {listed(name for name, _ in tried(facts))} do not tell" if tried(facts) else ""
    return {
        "leak": "Mend what leaks and run again; until then every figure below may flatter.",
        "chance": f"This study does not show that {facts.name} can be read from the scans; it does not rule it out.",
        # Parker, Günter and Bedo 2007, "Stratification bias in low signal microarray studies"
        "worse": "The answers go the wrong way: look whether positive and negative are swapped. Where there is nothing "
        "to learn, a cross-validated AUROC scatters a little below 0.5, because the test fold lacks what the training "
        "folds show by luck.",
        "better": f"The scans hold something about {facts.name}{beside}.",
    }.get(kind, "")


def _added(facts: Facts) -> list[str]:
    """What the scan adds to clinical columns: the run less the one on these alone, which is one of its members."""
    base = facts.clinical
    if base is None or base.estimate.value is None:
        return []
    without = f"{base.knows} alone: AUROC {estimate_text(base.estimate)}"
    if base.difference.value is None:
        return [f"What the scan adds cannot be estimated, because {base.difference.reason} ({without})."]
    shown = "is shown to add" if base.beaten else "takes away" if base.better else "is not shown to add"
    apart = f"{difference_text(base.difference)}, {p_text(base.p_difference)}"
    return [f"The scan {shown} to {base.knows}: difference of {facts.run} {apart} ({without})."]


def _learned(facts: Facts, kind: Kind) -> list[str]:
    """A network that does not fit its own training patients says nothing about what the scans hold."""
    if kind != "chance":
        return []
    others = [sentence for sentence in facts.training if not sentence.startswith("Undertrained")]
    who, fits = facts.learner or facts.run, facts.learned is not None and facts.learned >= UNDERTRAINED
    if facts.learned is not None and not fits:
        return [
            f"{who} is undertrained: even on its own training patients its AUROC is "
            f"{number_text(facts.learned, 2)}. Train it longer or otherwise before anything is concluded.", *others,
        ]  # fmt: skip
    if not facts.healthy or others:
        return others
    network = f", and {who} fits its training patients (AUROC {number_text(facts.learned, 2)})" if fits else ""
    return [
        f"{listed(facts.healthy)} answered for nearly all patients{network}: no signal in this cohort is seen by them."
    ]


def _figures(facts: Facts, kind: Kind) -> str:
    if facts.auroc.value is None or facts.p is None or facts.lacking:
        few = facts.lacking if facts.n_units else ""
        why = few or facts.auroc.reason or "no P value could be computed"
        return f"{facts.name} cannot be estimated, because {why}."
    which = called(facts.run, facts.networks, facts.noun, facts.members)
    if facts.equal > 1:
        which = f"{facts.run}, one of {facts.equal} {facts.noun}s that share the highest AUROC of {facts.networks},"
    who = f"{facts.n} test patients" + (f" with {facts.n_units} sides" if facts.n_units != facts.n else "")
    corrected = f", corrected for {facts.tested} comparisons" if facts.tested > 1 else ""
    return (
        f"{which} ranks a positive above a negative in {percent(facts.auroc.value)} of such pairs, where guessing "
        f"gives 50 %: AUROC {estimate_text(facts.auroc)}, {who}, {facts.n_positive} positive, "
        f"{p_text(facts.p)}{corrected}."
    )


def _baselines(facts: Facts) -> list[str]:
    said = []
    for baseline in (facts.metadata, facts.clinical):
        if baseline is None or (facts.adds and baseline is facts.clinical):
            continue
        name = capitalised(baseline.knows)
        if baseline.estimate.value is None:
            said.append(f"{name} alone could not be tried, because {baseline.estimate.reason}.")
            continue
        if baseline.beaten:
            ours = f"{facts.it} does better"
        elif baseline.difference.value is None:
            ours = f"whether {facts.it} does better cannot be estimated, because {baseline.difference.reason}"
        elif baseline.better:
            ours = f"{facts.it} does worse"
        else:
            ours = f"{facts.it} is not shown to do better"
        apart = baseline.difference
        gap = ""
        if apart.value is not None and apart.low is not None and apart.high is not None:
            gap = f": difference {difference_text(apart)}, {p_text(baseline.p_difference)}"
        verb = "reach" if " and " in name else "reaches"
        said.append(f"{name} alone {verb} {estimate_text(baseline.estimate)}; {ours}{gap}.")
    return said


def _lesion(facts: Facts, kind: Kind) -> list[str]:
    if facts.erased is None or facts.erased.value is None:
        if kind not in ("shortcut", "unproven", "better"):
            return []
        needs = f"a mask of the lesion (explain.mask) and a {facts.noun} that sees pictures"
        why = f"no scored copy lacks it, which takes {needs}"
        why = facts.erased.reason if facts.erased is not None and facts.erased.reason else why
        what = "How much rests on the lesion's grey values" if facts.in_mask else f"Whether {facts.it} needs the lesion"
        return [f"{what} could not be tested, because {why}."]
    fewer = facts.erased_n is not None and facts.erased_n < facts.n
    where = f", on {facts.erased_n} of {facts.n} patients," if fewer else ""
    if facts.in_mask:
        return [
            f"With the lesion's grey values replaced by its surroundings and its mask kept{where} the AUROC of "
            f"{facts.seeing or facts.run} is {estimate_text(facts.erased)}{_of_form(facts.left)}."
        ]
    left = "" if facts.left is None else f": {percent(facts.left)} of its skill is left"
    whose = f"that of {facts.seeing}" if facts.seeing else "its AUROC"
    return [f"With the lesion erased{where} {whose} is {estimate_text(facts.erased)}{left}."]


def _of_form(left: float | None) -> str:
    """How skill on features from inside a mask divides, by the share that is left without grey values."""
    if left is None:
        return ", and these patients show too little skill to divide it between form and grey values"
    whole = "the lesion's size, form, place and surroundings"
    if left >= 1:
        return f": all of its skill there can rest on {whole}"
    return f": about {percent(max(left, 0.0))} of its skill there rests on {whole}, the rest on its grey values"


def _marks(facts: Facts) -> list[str]:
    """What else in the pictures gives the answer."""
    who = facts.seeing or facts.subject
    said = [f"{who} by {words} alone reaches {estimate_text(estimate)}." for words, estimate in facts.alone]
    for cue in facts.cues:
        said.append(f"A rule without a network that sees only {cue.of} reaches {estimate_text(cue.estimate)}.")
        said += [cue.where] if cue.where else []
    if facts.cues and not facts.lesion_tested:
        said.append("If the lesion itself always lies there, as in scans cut around it, name its mask and run again.")
    if facts.unchanged:
        said.append("Its AUROC is the same on every altered copy of the scans, as it is where a mark gives the answer.")
    return said


def _transfer(facts: Facts) -> list[str]:
    said = [s for o in facts.outside for s in (o.told, o.apart) if s]
    for what, estimate, n in facts.elsewhere:
        if estimate.value is None:
            said.append(f"At {what} it cannot be estimated, because {estimate.reason}.")
        else:
            sure = estimate.low is not None and estimate.low > CHANCE
            verdict = "it stays above chance" if sure else "it is not shown to be above chance"
            said.append(f"At {what} {verdict}: {estimate_text(estimate)}, {n} patients.")
    return said


def _calibration(facts: Facts, kind: Kind) -> list[str]:
    slope = facts.slope
    if kind in ("chance", "worse", "leak") or slope is None or slope.low is None or slope.high is None:
        return []
    if slope.high - slope.low > UNSURE:
        return ["How far its probabilities can be trusted cannot be told from so few patients."]
    return [slope_in_words(slope)]


def slope_in_words(slope: Estimate) -> str:
    """What a calibration slope means."""
    if slope.value is None:
        return f"The calibration slope cannot be estimated, because {slope.reason}."
    if slope.low is None or slope.high is None:
        return f"The calibration slope is {estimate_text(slope)}."
    if slope.high < 0:
        words = "Probabilities point the wrong way"
    elif slope.high < 1:
        words = f"Probabilities are too extreme{', or tell nothing at all' if slope.low <= 0 else ''}"
    elif slope.low > 1:
        words = "Probabilities are too timid"
    else:
        words = "Probabilities are neither too extreme nor too timid as far as can be seen"
    return f"{words} (calibration slope {estimate_text(slope)}; 1 is right)."


def _needed(facts: Facts, kind: Kind) -> list[str]:
    prevalence = facts.n_positive / facts.n_units
    unit = "sides (as if no two were of one patient)" if facts.n_units != facts.n else "patients"
    if kind in ("chance", "worse"):
        least = detectable_auroc(facts.n_positive, facts.n_units - facts.n_positive)
        now = f"not even a perfect {facts.noun} would be told" if least is None else (
            f"only a true AUROC above {least:.2f} would be told"
        )  # fmt: skip
        number = patients_needed(WORTH, prevalence)
        some = number is not None and number <= MOST
        more = f" For one of {WORTH:.2f} about {number:,} are needed." if some else ""
        return [f"With {facts.n_units} {unit}, {now} from chance in four of five such studies.{more}"]
    if kind != "unproven":
        return []
    baselines = [b for _, b in tried(facts) if not b.beaten]
    for baseline in baselines:
        number = patients_needed_for_difference(baseline.difference, facts.n_units)
        if number is not None and facts.n_units < number <= MOST:
            return [f"To show a difference as large as this one, about {number:,} {unit} are needed."]
    return []
