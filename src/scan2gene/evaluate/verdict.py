"""The verdict: one paragraph per target, by rules that stand here and nowhere else. Figures in, words out.

The rules, in order; the first that holds gives the headline:

1. leak       a leakage check found something: no figure is to be believed as it stands.
2. unknown    the AUROC or its P value cannot be estimated.
3. chance     its P value, corrected for all networks and targets of the split (Holm), is not below 0.05.
4. worse      it is below 0.05 and the AUROC below 0.5.
5. shortcut   scan metadata alone predict the label better than chance, and the network is not
              shown to know more than they do; or as much as KEPT of its skill is left when the
              lesion is erased, and that rest is better than chance.
6. unproven   it is not shown to beat scan metadata, or the clinical baseline (paired test, Holm).
7. better     none of these.

Of 5, 6 and 7 the headline also says where the network was tested at external sites and lost: the
interval of the drop from inside lies above 0, and its P value, corrected for all networks and
targets of the split (Holm), is below 0.05. Correcting matters, since the best of several networks
inside is lucky there and seems to lose. "Not shown to hold" is then said where the AUROC there is
not above 0.5 either, "weaker" where it is.

"Shown to beat" means: the paired difference of AUROCs on the same patients is above 0 with a
corrected P value below 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scan2gene.evaluate.intervals import Estimate
from scan2gene.evaluate.power import POWER, auroc_error, detectable_auroc
from scan2gene.evaluate.shortcuts import percent, signed

Kind = Literal["leak", "unknown", "chance", "worse", "shortcut", "unproven", "better"]
LEVEL = 0.05
FEWEST = 6  # in the rarer class: of five, a single one can move an AUROC by a fifth
CHANCE = 0.5
KEPT = 0.8  # of what the AUROC has above 0.5, with the lesion erased
WORTH = 0.65  # the AUROC for which a sample size is named where nothing was shown
UNSURE = 3.0  # width of the interval of a calibration slope that says nothing
MOST = 100_000  # patients; beyond, no number is named
_Z = (1.959964, 0.841621)  # two-sided 5 %, power 80 %


@dataclass(frozen=True)
class Against:
    """A baseline that sees no picture, and the network held against it.

    Args:
        knows: What it knows, such as "scanner, site and scan settings".
        estimate: Its AUROC.
        p: Against chance, two-sided.
        difference: The network's AUROC less its, on the same patients.
        p_difference: Two-sided, corrected (Holm).
    """

    knows: str
    estimate: Estimate
    p: float | None
    difference: Estimate
    p_difference: float | None

    @property
    def predicts(self) -> bool:
        """Whether it is better than chance itself."""
        return (self.estimate.low or 0) > CHANCE and (1 if self.p is None else self.p) < LEVEL

    @property
    def beaten(self) -> bool:
        """Whether the network is shown to know more."""
        known = self.difference.value is not None and self.p_difference is not None
        return known and (self.difference.value or 0) > 0 and (self.p_difference or 0) < LEVEL


@dataclass(frozen=True)
class Outside:
    """The network at external sites, on which nothing was learned or chosen.

    Args:
        where: In words.
        told: The sentence about it.
        estimate: Its AUROC there.
        lost: Whether it is shown to do worse there than inside, corrected for all networks and targets of the split.
        apart: A sentence about how patients there differ; empty where they are not shown to.
    """

    where: str
    told: str
    estimate: Estimate
    lost: bool
    apart: str = ""

    @property
    def loss(self) -> str:
        """What a headline says of it; empty where no drop is shown."""
        if not self.lost:
            return ""
        holds = (self.estimate.low or 0) > CHANCE
        return f"{'weaker' if holds else 'not shown to hold'} at {self.where}"


@dataclass(frozen=True)
class Facts:
    """What is known of the best network of one target and split.

    Args:
        target: What is predicted.
        split: Of the study.
        run: The network with the highest AUROC.
        networks: How many there are.
        auroc: With its unadjusted 95 % interval.
        n: Test patients.
        n_units: Of them or their sides, those that are scored.
        n_positive: Of these.
        p: Against chance, two-sided, corrected (Holm).
        tested: For how many comparisons it is corrected.
        metadata: Scan metadata alone.
        clinical: Age, sex and the like alone.
        erased: AUROC with the lesion erased; None where it was not done.
        left: Share of the skill that is left then.
        erased_n: Patients behind it; of slices, those whose chosen slices show the lesion.
        elsewhere: (sites never seen in training, AUROC, patients).
        outside: At external sites.
        slope: Calibration slope.
        gaps: Sentences about gaps between subgroups that chance does not explain.
        leaks: Sentences of leakage checks that found something certain.
        suspicions: Sentences of those that found something to look at.
    """

    target: str
    split: str
    run: str
    networks: int
    auroc: Estimate
    n: int
    n_units: int
    n_positive: int
    p: float | None
    tested: int
    metadata: Against | None = None
    clinical: Against | None = None
    erased: Estimate | None = None
    left: float | None = None
    erased_n: int | None = None
    elsewhere: tuple[tuple[str, Estimate, int], ...] = ()
    outside: tuple[Outside, ...] = ()
    slope: Estimate | None = None
    gaps: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    suspicions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What is said of a target: a headline, and a paragraph of sentences."""

    target: str
    split: str
    run: str
    kind: Kind
    headline: str
    sentences: tuple[str, ...]


HEADLINES: dict[Kind, str] = {
    "leak": "not to be believed as it stands, because of a leak",
    "unknown": "cannot be estimated",
    "chance": "not distinguishable from chance",
    "worse": "below chance",
    "shortcut": "a shortcut",
    "unproven": "better than chance",
    "better": "better than chance",
}


def judge(facts: Facts) -> Verdict:
    """The verdict on one target and split."""
    kind = _kind(facts)
    sentences = [_meaning(facts, kind), *facts.leaks, _figures(facts, kind)]
    if kind != "unknown":
        sentences += [*_baselines(facts), *_lesion(facts), *_transfer(facts), *_calibration(facts, kind), *facts.gaps]
        sentences += _needed(facts, kind)
    return Verdict(
        facts.target, facts.split, facts.run, kind, _headline(facts, kind) + _lost(facts, kind),
        tuple(s for s in [*sentences, *facts.suspicions] if s),
    )  # fmt: skip


def _kind(facts: Facts) -> Kind:
    if facts.leaks:
        return "leak"
    if facts.auroc.value is None or facts.p is None or too_few(facts.n_positive, facts.n_units):
        return "unknown"
    if facts.p >= LEVEL:
        return "chance"
    if facts.auroc.value < CHANCE:
        return "worse"
    if _reads_scanner(facts) or _needs_no_lesion(facts):
        return "shortcut"
    baselines = [b for _, b in _named(facts)]
    return "better" if all(b.beaten for b in baselines) else "unproven"


def too_few(n_positive: int, n_units: int) -> str:
    """Why an AUROC of so few in one class is not judged; empty where there are enough in both."""
    rarer, word = min((n_positive, "positive"), (n_units - n_positive, "negative"))
    if rarer >= FEWEST:
        return ""
    are = "is" if rarer == 1 else "are"
    return f"{rarer} of {n_units} {are} {word}, and below {FEWEST} a single one can move an AUROC by a fifth or more"


def _reads_scanner(facts: Facts) -> bool:
    return facts.metadata is not None and facts.metadata.predicts and not facts.metadata.beaten


def _needs_no_lesion(facts: Facts) -> bool:
    erased = facts.erased
    if erased is None or erased.low is None or facts.left is None:
        return False
    return erased.low > CHANCE and facts.left >= KEPT


def _headline(facts: Facts, kind: Kind) -> str:
    words = HEADLINES[kind]
    if kind == "shortcut":
        because = ["scan metadata alone do as well"] if _reads_scanner(facts) else []
        because += ["the lesion is not needed"] if _needs_no_lesion(facts) else []
        return f"{words}: {', and '.join(because)}"
    if kind == "unproven":
        pending = [name for name, b in _named(facts) if not b.beaten]
        return f"{words}, but not shown to beat {' or '.join(pending)} alone"
    if kind == "better":
        held = [name for name, _ in _named(facts)]
        return f"{words}{', and than ' + ' or '.join(held) + ' alone' if held else ''}"
    return words


def _lost(facts: Facts, kind: Kind) -> str:
    losses = [o.loss for o in facts.outside if o.loss] if kind in ("shortcut", "unproven", "better") else []
    return f"; {' and '.join(losses)}" if losses else ""


def _named(facts: Facts) -> list[tuple[str, Against]]:
    """Baselines that were tried, by the names that a headline gives them."""
    tried = (("scan metadata", facts.metadata), ("clinical data", facts.clinical))
    return [(name, b) for name, b in tried if b is not None and b.estimate.value is not None]


def _meaning(facts: Facts, kind: Kind) -> str:
    """What the headline means, for somebody who reads no figures."""
    if kind == "shortcut" and _reads_scanner(facts):
        return "What the network has learned may be where and how a patient was scanned, not the disease."
    if kind == "shortcut":
        return "The network answers as well without seeing the lesion, so it has learned something else."
    if kind == "unproven":
        known = " or ".join(name for name, b in _named(facts) if not b.beaten)
        return f"The network knows something of {facts.target}, but perhaps nothing that {known} do not tell."
    beside = " that " + " and ".join(name for name, _ in _named(facts)) + " do not tell" if _named(facts) else ""
    return {
        "leak": "Mend what leaks and run again; until then every figure below may flatter.",
        "chance": f"This study does not show that {facts.target} can be read from the scans; it does not rule it out.",
        "worse": "The answers go the wrong way: look whether positive and negative are swapped.",
        "better": f"The scans hold something about {facts.target}{beside}.",
    }.get(kind, "")


def _figures(facts: Facts, kind: Kind) -> str:
    if facts.auroc.value is None or facts.p is None or too_few(facts.n_positive, facts.n_units):
        why = too_few(facts.n_positive, facts.n_units) or facts.auroc.reason or "no P value could be computed"
        return f"{facts.target} cannot be estimated, because {why}."
    which = f"The best of {facts.networks} networks, {facts.run}," if facts.networks > 1 else f"The network {facts.run}"
    who = f"{facts.n} test patients" + (f" with {facts.n_units} sides" if facts.n_units != facts.n else "")
    corrected = f", corrected for {facts.tested} comparisons" if facts.tested > 1 else ""
    return (
        f"{which} ranks a positive above a negative in {percent(facts.auroc.value)} of such pairs, where guessing "
        f"gives 50 %: AUROC {_spread(facts.auroc)}, {who}, {facts.n_positive} positive, "
        f"P {p_words(facts.p)}{corrected}."
    )


def _baselines(facts: Facts) -> list[str]:
    said = []
    for baseline in (facts.metadata, facts.clinical):
        if baseline is None:
            continue
        name = baseline.knows[0].upper() + baseline.knows[1:]
        if baseline.estimate.value is None:
            said.append(f"{name} alone could not be tried, because {baseline.estimate.reason}.")
            continue
        if baseline.beaten:
            ours = "the network does better"
        elif baseline.difference.value is None:
            ours = f"whether the network does better cannot be estimated, because {baseline.difference.reason}"
        else:
            ours = "the network is not shown to do better"
        apart = baseline.difference
        gap = ""
        if apart.value is not None and apart.low is not None and apart.high is not None:
            spread = f"{signed(apart.value)}, {signed(apart.low)} to {signed(apart.high)}"
            gap = f" (difference {spread}, P {p_words(baseline.p_difference)})"
        verb = "reach" if " and " in name else "reaches"
        said.append(f"{name} alone {verb} {_spread(baseline.estimate)}; {ours}{gap}.")
    return said


def _lesion(facts: Facts) -> list[str]:
    if facts.erased is None or facts.erased.value is None:
        return []
    left = "" if facts.left is None else f": {percent(facts.left)} of its skill is left"
    fewer = facts.erased_n is not None and facts.erased_n < facts.n
    where = f", on {facts.erased_n} of {facts.n} patients," if fewer else ""
    return [f"With the lesion erased{where} its AUROC is {_spread(facts.erased)}{left}."]


def _transfer(facts: Facts) -> list[str]:
    said = [s for o in facts.outside for s in (o.told, o.apart) if s]
    for what, estimate, n in facts.elsewhere:
        if estimate.value is None:
            said.append(f"At {what} it cannot be estimated, because {estimate.reason}.")
        else:
            sure = estimate.low is not None and estimate.low > CHANCE
            verdict = "it stays above chance" if sure else "it is not shown to be above chance"
            said.append(f"At {what} {verdict}: {_spread(estimate)}, {n} patients.")
    return said


def _calibration(facts: Facts, kind: Kind) -> list[str]:
    slope = facts.slope
    if kind in ("chance", "worse", "leak") or slope is None or slope.low is None or slope.high is None:
        return []
    if slope.high - slope.low > UNSURE:
        return ["How far its probabilities can be trusted cannot be told from so few patients."]
    if slope.high < 1:
        words = "Its probabilities are too extreme"
    elif slope.low > 1:
        words = "Its probabilities are too timid"
    else:
        words = "Its probabilities are not shown to be too extreme or too timid"
    return [f"{words} (calibration slope {slope.value:.2f}, {slope.low:.2f} to {slope.high:.2f}; 1 is right)."]


def _needed(facts: Facts, kind: Kind) -> list[str]:
    prevalence = facts.n_positive / facts.n_units
    unit = "sides" if facts.n_units != facts.n else "patients"
    if kind in ("chance", "worse"):
        least = detectable_auroc(facts.n_positive, facts.n_units - facts.n_positive)
        now = "not even a perfect network would be told" if least is None else (
            f"only a true AUROC above {least:.2f} would be told"
        )  # fmt: skip
        number = needed(WORTH, prevalence)
        more = f" For one of {WORTH:.2f} about {number:,} are needed." if number else ""
        return [f"With {facts.n_units} {unit}, {now} from chance in four of five such studies.{more}"]
    if kind != "unproven":
        return []
    baselines = [b for _, b in _named(facts) if not b.beaten]
    for baseline in baselines:
        apart = baseline.difference
        if apart.value is None or apart.low is None or apart.high is None or apart.value <= 0:
            continue
        error = (apart.high - apart.low) / (2 * _Z[0])
        number = math.ceil(facts.n_units * (sum(_Z) * error / apart.value) ** 2)
        if facts.n_units < number <= MOST:
            return [f"To show a difference as large as this one, about {number:,} {unit} are needed."]
    return []


def needed(auroc: float, prevalence: float, power: float = POWER) -> int | None:
    """Test patients with which a true AUROC is told from 0.5 in a share `power` of studies.

    Args:
        auroc: Above 0.5.
        prevalence: Share of positives among them.
        power: Wanted.

    Returns:
        The number; None above `MOST`.

    Source: Hanley and McNeil 1982, by `detectable_auroc`, whose condition this solves for the number.
    """
    low, high = 4, MOST
    if not _enough(auroc, prevalence, high, power):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _enough(auroc, prevalence, middle, power) else (middle, high)
    return high


def _enough(auroc: float, prevalence: float, n: int, power: float) -> bool:
    from statistics import NormalDist

    positives = round(n * prevalence)
    if not 0 < positives < n:
        return False
    z_level, z_power = NormalDist().inv_cdf(1 - LEVEL / 2), NormalDist().inv_cdf(power)
    errors = [auroc_error(a, positives, n - positives) for a in (CHANCE, auroc)]
    return auroc - CHANCE >= z_level * errors[0] + z_power * errors[1]


def summary(verdicts: Sequence[Verdict]) -> str:
    """One line over all targets, for a terminal."""
    return "; ".join(f"{v.target} {v.headline}" for v in verdicts)


def _spread(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f} (no interval)"
    return f"{estimate.value:.3f} ({estimate.low:.3f}–{estimate.high:.3f})"


def p_words(value: float | None) -> str:
    """A P value after the letter P: = 0.012, or < 0.001."""
    if value is None:
        return "not known"
    if value < 0.001:
        return "< 0.001"
    near = abs(value - LEVEL) < 0.0005  # three digits would not say on which side of it
    return f"= {value:.4f}" if near else f"= {value:.3f}"
