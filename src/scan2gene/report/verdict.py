"""Plain sentences from figures, by small rules that anyone can check.

Nothing here tests a hypothesis: an interval is compared with 0.5 and with one number, or a
P value that is corrected for all that was tested with one in twenty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scan2gene.stats.intervals import Estimate
from scan2gene.stats.levels import ALPHA, CHANCE

FEW = 10  # patients of the rarer class below which an interval is only a rough guide

Kind = Literal["better", "worse", "chance", "unknown"]
WORDS: dict[Kind, str] = {
    "better": "is better than chance",
    "worse": "lies below chance",
    "chance": "is not distinguishable from chance",
}


@dataclass(frozen=True)
class Scored:
    """One figure on test patients: the estimate, and how many patients and sides of them are behind it."""

    estimate: Estimate
    n: int
    n_positive: int
    n_units: int | None = None  # sides, where a target has them

    @property
    def units(self) -> int:
        """What is scored: patients, or their sides."""
        return self.n if self.n_units is None else self.n_units

    @property
    def of_sides(self) -> str:
        """How many sides are scored, as it follows the number of patients; empty where there are none."""
        return f" with {self.units:,} sides" if self.units != self.n else ""


@dataclass(frozen=True)
class Baseline:
    """The best clinical baseline of a split and target: its run, its columns, its AUROC, its test patients."""

    run: str
    columns: tuple[str, ...]
    auroc: float
    n: int | None = None


@dataclass(frozen=True)
class Sentence:
    """What is said of one run: the verdict, the figures, the comparison, a caution."""

    run: str
    kind: Kind
    verdict: str
    figures: str
    comparison: str
    caution: str
    beats_baseline: bool = False


def number(value: float) -> str:
    """Three decimals, so that an interval that just misses 0.5 is seen to do so."""
    return f"{value:.3f}"


def interval(low: float, high: float) -> str:
    """An interval as text; beside a minus sign a dash would be read as another."""
    return f"{number(low)}{' to ' if low < 0 else '–'}{number(high)}"


def against_chance(auroc: Estimate) -> tuple[Kind, str]:
    """Compare an AUROC's 95 % interval with 0.5.

    Returns:
        The kind, and the words that follow the run's name.
    """
    if auroc.low is None or auroc.high is None:
        return "unknown", f"cannot be estimated, because {auroc.reason or 'no interval was computed'}"
    kind: Kind = "better" if auroc.low > CHANCE else "worse" if auroc.high < CHANCE else "chance"
    return kind, WORDS[kind]


def against_chance_by_p(auroc: Estimate, p: float | None) -> tuple[Kind, str]:
    """The words of `against_chance`, decided by a P value.

    Args:
        auroc: With its unadjusted interval; without one nothing is decided.
        p: Two-sided, corrected for all comparisons (Holm).
    """
    if auroc.value is None or auroc.low is None or auroc.high is None or p is None:
        return against_chance(Estimate(auroc.value, reason=auroc.reason))
    kind: Kind = "chance" if p >= ALPHA else "better" if auroc.value > CHANCE else "worse"
    return kind, WORDS[kind]


def below_chance(crossed: bool) -> str:
    """What an interval below 0.5 may come from.

    Args:
        crossed: Every patient is tested once, by networks trained on the others.

    Compare Parker, Günter and Bedo 2007, "Stratification bias in low signal microarray studies", who met a stronger
    form of it where scores of different folds are pooled.
    """
    luck = "Where there is nothing to learn, one interval in 20 misses 0.5 by luck"
    bias = (
        "; and a cross-validated AUROC then scatters a little below 0.5, because what the training folds show by luck "
        "the test fold lacks"
    )
    return f"{luck}{bias if crossed else ''}. If it lies far below, look whether positive and negative are swapped."


def against_baseline(auroc: Estimate, baseline: Baseline | None) -> str:
    """Say whether a network's interval lies above the best clinical baseline's AUROC.

    Empty without a baseline or without an interval. An interval above a baseline that is
    itself at or below chance is no merit while the interval includes 0.5, and is not called one.
    """
    if baseline is None or auroc.low is None or auroc.high is None:
        return ""
    alone = f"{_listed(baseline.columns)} alone"
    its = f"{number(baseline.auroc)}, the AUROC of run {baseline.run}"
    if auroc.low <= baseline.auroc:
        return f"It does not show more than {alone}: its interval does not lie above {its} (by overlap, not a test)."
    if auroc.low <= CHANCE:
        return f"Nothing follows from a comparison with {alone} ({its}), which is itself below chance."
    return f"Its interval lies above {its} ({alone}; by overlap, not a test)."


def sentence(
    run: str, scored: Scored | None, baseline: Baseline | None = None, unpaired: int = 0, crossed: bool = False
) -> Sentence:
    """The sentence about one run, split and target.

    Args:
        run: Its name.
        scored: Its AUROC on test patients; None when there is none.
        baseline: The best clinical baseline, for a network.
        unpaired: Test patients in folds whose test set has one class; no pair holds them.
        crossed: Every patient is tested once, by networks trained on the others.
    """
    if scored is None:
        return Sentence(run, "unknown", "cannot be estimated, because it has no test patients", "", "", "")
    auroc = scored.estimate
    kind, verdict = against_chance(auroc)
    if auroc.value is None:
        return Sentence(run, kind, verdict, "", "", "")
    who = f"{scored.n} test patients{scored.of_sides}, {scored.n_positive} positive"
    spread = "no interval" if auroc.low is None or auroc.high is None else (
        f"95 % interval {interval(auroc.low, auroc.high)}"
    )  # fmt: skip
    rarer = min(scored.n_positive, scored.units - scored.n_positive)
    cautions = (
        [f"Only {rarer} {'sides' if scored.of_sides else 'patients'} in the rarer class: a rough guide."]
        if rarer < FEW
        else []
    )
    if kind == "worse":
        cautions.append(below_chance(crossed))
    if unpaired:
        cautions.append(f"{unpaired} of these were tested in folds with one class only and do not count in the AUROC.")
    if baseline is not None and baseline.n is not None and baseline.n != scored.n:
        cautions.append(f"Run {baseline.run} was tested on {baseline.n} patients, so the two are not the same cohort.")
    figures = f"AUROC {number(auroc.value)} ({spread}), {who}"
    beats = baseline is not None and auroc.low is not None and auroc.low > max(baseline.auroc, CHANCE)
    return Sentence(run, kind, verdict, figures, against_baseline(auroc, baseline), " ".join(cautions), beats)


def summary(networks: Sequence[Sentence], baseline: Baseline | None) -> str:
    """What several networks come to on one target and split, in one line.

    Args:
        networks: Their sentences.
        baseline: The best clinical baseline, if there is one.
    """
    groups = [
        ("Networks whose own interval, uncorrected, lies above 0.5", [s.run for s in networks if s.kind == "better"])
    ]
    if baseline is not None:
        alone = f"{_listed(baseline.columns)} alone ({number(baseline.auroc)})"
        groups.append((f"Above {alone}", [s.run for s in networks if s.beats_baseline]))
    said = [
        f"{what}: {len(runs) or 'none'} of {len(networks)}{f' ({_listed(runs)})' if runs else ''}."
        for what, runs in groups
    ]
    for what, kind in (("Below chance", "worse"), ("Cannot be estimated", "unknown")):
        runs = [s.run for s in networks if s.kind == kind]
        said += [f"{what}: {_listed(runs)}."] if runs else []
    return " ".join(said)


def best_baseline(candidates: Sequence[tuple[str, Sequence[str], Scored | None]]) -> Baseline | None:
    """The clinical baseline with the highest AUROC; None when none has a value.

    Args:
        candidates: Run, its columns, its AUROC.
    """
    known = [
        Baseline(run, tuple(columns), scored.estimate.value, scored.n)
        for run, columns, scored in candidates
        if scored is not None and scored.estimate.value is not None
    ]
    return max(known, key=lambda b: b.auroc, default=None)


def multiplicity(kinds: Sequence[Kind], with_baseline: int) -> str:
    """How many comparisons were made, none of them adjusted.

    Args:
        kinds: One verdict per run, split and target.
        with_baseline: How many intervals were held against a clinical baseline.
    """
    made = sum(k != "unknown" for k in kinds)
    if made == 0:
        return "No comparison with chance could be made."
    text = f"{made} comparison{'s' * (made > 1)} with chance"
    if with_baseline:
        text += f" and {with_baseline} with a clinical baseline"
    text += f" {'were' if made + with_baseline > 1 else 'was'} made, unadjusted."
    if made > 1:
        expected = f", here about {made * 0.05:.1f} of {made}" if made >= 10 else ""
        text += (
            f" Where there is nothing to learn, one interval in 20 still misses 0.5 by luck{expected}; "
            "and the best of several runs looks better than it is."
        )
    return text


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
