"""The verdict: one paragraph per target, by rules that stand here and nowhere else. Figures in, words out.

The rules, in order; the first that holds gives the headline:

1. leak       a leakage check found something: no figure is to be believed as it stands.
2. unknown    the AUROC or its P value cannot be estimated, or fewer than six patients of a class are tested.
3. chance     its P value, corrected for all networks and targets of the split (Holm), is not below 0.05.
4. worse      it is below 0.05 and the AUROC below 0.5.
5. shortcut   scan metadata alone predict the label better than chance, and the network is not
              shown to know more than they do; or as much as KEPT of its skill is left when the
              lesion is erased, or when only the border or what lies outside every body is shown,
              and that rest is better than chance; or a rule without a network does as well by the
              border, by what lies outside the body, or by a few constant pixels (`places.marks`).
              Of a model whose features come from inside a mask, an erased lesion is no such sign: it
              needs the mask by construction, and with the grey values replaced and the mask kept it
              may go by size, form, place and surroundings. The paragraph then says how
              much of the skill rests on these and how much on grey values. A mean of runs is such a
              model where any of its members is.
6. unproven   it is not shown to beat scan metadata, or the clinical baseline (paired test, Holm);
              or no copy without the lesion could be scored, mostly because there is no mask; a model
              on features from inside a mask needs no such copy.
7. better     none of these.

Of 5, 6 and 7 the headline also says where the network was tested at external sites and lost: the
interval of the drop from inside lies above 0, and its P value, corrected for all networks and
targets of the split (Holm), is below 0.05. Correcting matters, since the best of several networks
inside is lucky there and seems to lose. "Not shown to hold" is then said where the AUROC there is
not above 0.5 either, "weaker" where it is.

A target of several classes has a verdict for each class against the rest, by the network that is best on that class,
and one for the whole, by the network with the highest macro AUROC, which is the mean over classes. Rules 1 to 4 are
those above, of the macro AUROC and its P value, corrected for the networks and such targets of the split. It carries
the macro AUROC where a class has one that is not lower. The whole is a shortcut where a class that carries it is one
by that network, better where all that carry it are better, and otherwise unproven. Headlines name the classes.

Where the study was planned with one run as its answer (`best`), that run alone is judged, and P values are corrected
for targets only. Its clinical baseline is the planned run on clinical columns: what the scan adds to these. What it
owes to the pictures is asked of `image`, the part of it that sees them.

"Shown to beat" means: the paired difference of AUROCs on the same patients is above 0 with a
corrected P value below 0.05.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scan2gene.core.levels import ALPHA, CHANCE
from scan2gene.core.text import listed
from scan2gene.evaluate.facts import Facts, WholeFacts, tried
from scan2gene.evaluate.verdict_words import Kind, sentences, whole_sentences
from scan2gene.stats.intervals import Estimate
from scan2gene.tasks.outputs import displayed

KEPT = 0.8  # of what the AUROC has above 0.5, with the lesion erased


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
    said = sentences(facts, kind, _reads_scanner(facts))
    return Verdict(
        facts.target, facts.split, facts.run, kind, _headline(facts, kind) + _lost([facts], kind),
        tuple(s for s in said if s),
    )  # fmt: skip


def judge_whole(whole: WholeFacts) -> Verdict:
    """The verdict on one target of several classes and split, as the rules above have it."""
    judged = {label: judge(facts) for label, facts in whole.classes.items()}
    carrying = [
        label for label, facts in whole.classes.items()
        if facts.auroc.value is not None and whole.auroc.value is not None and facts.auroc.value >= whole.auroc.value
    ]  # fmt: skip
    kind = _kind_of_whole(whole, [judged[label].kind for label in carrying])
    headline = HEADLINES[kind]
    if kind == "shortcut":
        headline += f" in {listed(label for label in carrying if judged[label].kind == kind)}"
    if kind in ("unproven", "better"):
        headline += _limits([whole.classes[label] for label in carrying]) + _which(judged)
    headline += _lost([whole.classes[label] for label in carrying], kind)
    headlines = {label: verdict.headline for label, verdict in judged.items()}
    said = whole_sentences(whole, kind, headlines)
    return Verdict(whole.target, whole.split, whole.run, kind, headline, tuple(s for s in said if s))


def _kind_of_whole(whole: WholeFacts, carrying: Sequence[Kind]) -> Kind:
    if any(facts.leaks for facts in whole.classes.values()):
        return "leak"
    if whole.auroc.value is None or whole.p is None:
        return "unknown"
    if whole.p >= ALPHA:
        return "chance"
    if whole.auroc.value < CHANCE:
        return "worse"
    if "shortcut" in carrying:
        return "shortcut"
    return "better" if all(kind == "better" for kind in carrying) else "unproven"


def _which(judged: Mapping[str, Verdict]) -> str:
    """Classes that are told from the rest, where not all are."""
    shown = [label for label, verdict in judged.items() if verdict.kind in ("shortcut", "unproven", "better")]
    return f"; shown for {listed(shown)} against the rest" if 0 < len(shown) < len(judged) else ""


def _kind(facts: Facts) -> Kind:
    if facts.leaks:
        return "leak"
    if facts.auroc.value is None or facts.p is None or facts.lacking:
        return "unknown"
    if facts.p >= ALPHA:
        return "chance"
    if facts.auroc.value < CHANCE:
        return "worse"
    if _reads_scanner(facts) or _needs_no_lesion(facts) or facts.cues or facts.alone:
        return "shortcut"
    baselines = [b for _, b in tried(facts)]
    return "better" if facts.lesion_tested and all(b.beaten for b in baselines) else "unproven"


def _reads_scanner(facts: Facts) -> bool:
    return facts.metadata is not None and facts.metadata.predicts and not facts.metadata.beaten


def _needs_no_lesion(facts: Facts) -> bool:
    return facts.erased is not None and not facts.in_mask and keeps(facts.erased, facts.left)


def keeps(estimate: Estimate, left: float | None) -> bool:
    """Whether most of a network's skill is left on altered copies, and that rest is better than chance."""
    return estimate.low is not None and left is not None and estimate.low > CHANCE and left >= KEPT


def _headline(facts: Facts, kind: Kind) -> str:
    words = HEADLINES[kind]
    if kind == "shortcut":
        because = ["scan metadata alone do as well"] if _reads_scanner(facts) else []
        because += ["the lesion is not needed"] if _needs_no_lesion(facts) else []
        shown = list(dict.fromkeys([*(words for words, _ in facts.alone), *(cue.of for cue in facts.cues)]))
        because += [f"{listed(shown, 'or')} alone is enough"] if shown else []
        return f"{words}: {', and '.join(because)}"
    if kind in ("unproven", "better"):
        return words + _limits([facts])
    return words


def _limits(facts: Sequence[Facts]) -> str:
    """What else is shown, and what is not, of one target, or of classes together."""
    held = dict.fromkeys(name for f in facts for name, b in tried(f) if b.beaten)
    pending = dict.fromkeys(name for f in facts for name, b in tried(f) if not b.beaten)
    lesion_tested, untested = all(f.lesion_tested for f in facts), "whether it needs the lesion could not be tested"
    if pending:
        rest = "" if lesion_tested else f", and {untested}"
        return f", but not shown to beat {listed(pending, 'or')} alone{rest}"
    rest = "" if lesion_tested else f", but {untested}"
    return f"{', and than ' + listed(held, 'or') + ' alone' if held else ''}{rest}"


def _lost(facts: Sequence[Facts], kind: Kind) -> str:
    losses = list(dict.fromkeys(o.loss for f in facts for o in f.outside if o.loss))
    losses = losses if kind in ("shortcut", "unproven", "better") else []
    return f"; {listed(losses)}" if losses else ""


def summary(verdicts: Sequence[Verdict]) -> str:
    """One line over all targets, for a terminal."""
    return "; ".join(f"{displayed(v.target)} {v.headline}" for v in verdicts)
