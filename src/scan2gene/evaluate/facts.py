"""What is known of a target's best or planned model, as its verdict takes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scan2gene.core.levels import ALPHA, CHANCE
from scan2gene.core.text import listed
from scan2gene.stats.intervals import Estimate
from scan2gene.stats.power import too_few
from scan2gene.tasks.outputs import displayed


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
        return (self.estimate.low or 0) > CHANCE and (1 if self.p is None else self.p) < ALPHA

    @property
    def beaten(self) -> bool:
        """Whether the network is shown to know more."""
        return self._told_apart and (self.difference.value or 0) > 0

    @property
    def better(self) -> bool:
        """Whether it is shown to know more than the network."""
        return self._told_apart and (self.difference.value or 0) < 0

    @property
    def _told_apart(self) -> bool:
        return self.difference.value is not None and (1 if self.p_difference is None else self.p_difference) < ALPHA


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
class Cue:
    """Something other than the lesion that does as well as a network.

    Args:
        of: In words.
        estimate: Its AUROC.
        where: A sentence about the place; empty where there is none.
    """

    of: str
    estimate: Estimate
    where: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known of the best network of one target and split.

    Args:
        target: What is predicted.
        split: Of the study.
        run: The network with the highest AUROC.
        networks: How many there are.
        equal: How many of them have that AUROC.
        auroc: With its unadjusted 95 % interval.
        n: Test patients.
        n_units: Of them or their sides, those that are scored.
        n_positive: Of these.
        fewest: Patients of the rarer class, who may have two sides each; None where patients are scored.
        p: Against chance, two-sided, corrected (Holm).
        tested: For how many comparisons it is corrected.
        metadata: Scan metadata alone.
        clinical: Age, sex and the like alone.
        erased: AUROC with the lesion erased; None where it was not done.
        left: Share of the skill that is left then.
        erased_n: Patients behind it; of slices, those whose chosen slices show the lesion.
        cues: What does as well without a network: the border, what lies outside the body, a few constant pixels.
        alone: (what is shown alone, AUROC) where the network keeps its skill by the border or the outside alone.
        unchanged: No altered copy changes its AUROC.
        elsewhere: (sites never seen in training, AUROC, patients).
        outside: At external sites.
        slope: Calibration slope.
        learned: AUROC on its own training patients, median over fits; None where it was not recorded.
        training: What looks wrong about how it was trained.
        gaps: Sentences about gaps between subgroups that chance does not explain.
        leaks: Sentences of leakage checks that found something certain.
        suspicions: Sentences of those that found something to look at.
        noun: What the runs are called together: "network", or "model" where some read features.
        members: Of a mean of runs that was fixed as the answer before training; empty where the best was taken.
        seeing: The part of such a mean that sees the pictures, whose altered copies are scored; "" for the run itself.
        in_mask: Whether that part reads features from inside a mask.
        adds: Whether `clinical` is the run on clinical columns that is one of the members.
        learner: The network behind `learned`, where it is another run.
        healthy: Runs that see the pictures and answered for nearly all test patients; of a fixed mean.
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
    cues: tuple[Cue, ...] = ()
    alone: tuple[tuple[str, Estimate], ...] = ()
    unchanged: bool = False
    elsewhere: tuple[tuple[str, Estimate, int], ...] = ()
    outside: tuple[Outside, ...] = ()
    slope: Estimate | None = None
    learned: float | None = None
    training: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()
    leaks: tuple[str, ...] = ()
    suspicions: tuple[str, ...] = ()
    fewest: int | None = None
    equal: int = 1
    noun: str = "network"
    members: tuple[str, ...] = ()
    seeing: str = ""
    in_mask: bool = False
    adds: bool = False
    learner: str = ""
    healthy: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The target as sentences name it."""
        return displayed(self.target)

    @property
    def it(self) -> str:
        """What sentences call the run."""
        return self.run if self.members else f"the {self.noun}"

    @property
    def subject(self) -> str:
        """The same where a sentence begins."""
        return self.run if self.members else f"The {self.noun}"

    @property
    def lesion_tested(self) -> bool:
        """Whether it is known if the lesion is needed: from copies without it, or because features are of its mask."""
        return self.in_mask or (self.erased is not None and self.erased.value is not None)

    @property
    def lacking(self) -> str:
        """Why so few are not judged; empty where there are enough in both classes."""
        return too_few(self.n_positive, self.n_units, self.fewest)


@dataclass(frozen=True)
class WholeFacts:
    """What is known of the best network of one split and one target of several classes.

    Args:
        target: What is predicted.
        split: Of the study.
        run: The network with the highest macro AUROC, the mean over classes of each against the rest.
        networks: How many there are.
        auroc: The macro AUROC with its unadjusted 95 % interval.
        n: Test patients.
        p: Against chance, two-sided, corrected (Holm).
        tested: For how many comparisons it is corrected.
        classes: Class -> what is known of this network on it against the rest.
        noun: As in `Facts`.
        members: As in `Facts`.
    """

    target: str
    split: str
    run: str
    networks: int
    auroc: Estimate
    n: int
    p: float | None
    tested: int
    classes: Mapping[str, Facts]
    noun: str = "network"
    members: tuple[str, ...] = ()


def tried(facts: Facts) -> list[tuple[str, Against]]:
    """Baselines that could be tried, by the names that a headline gives them."""
    both = (("scan metadata", facts.metadata), ("clinical data", facts.clinical))
    return [(name, b) for name, b in both if b is not None and b.estimate.value is not None]


def called(run: str, networks: int, noun: str, members: Sequence[str]) -> str:
    """How the first sentence about a run's figures names it."""
    if members:
        made = f"the mean of {listed(members)}" if len(members) > 1 else f"here {members[0]} alone"
        return f"{run}, {made}, fixed before training,"
    return f"The best of {networks} {noun}s, {run}," if networks > 1 else f"The {noun} {run}"
