"""The Methods of a paper, from what the study says and what its run directory shows was done.

Every sentence is borne out by a file of the run or a key of its study, which stands beside it; about a stage
that did not run there is none. The checklists and the cards quote the same sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from scan2gene.report import methods_data as data
from scan2gene.report import methods_models as models
from scan2gene.report import methods_sites as sites
from scan2gene.report import methods_tests as tests
from scan2gene.report.inputs import Inputs
from scan2gene.report.latex import escaped
from scan2gene.report.references import GUIDELINES, bibtex
from scan2gene.report.statements import Statement, as_latex, as_markdown, as_text, markdown

# heading -> what is said below it, in order
PARTS: dict[str, tuple[Callable[[Inputs], Iterator[Statement]], ...]] = {
    "Patients and scans": (data.cohort, data.exclusions),
    "Reference labels": (data.labels, data.missing),
    "Preparation of the scans": (data.preparation,),
    "Models and training": (models.networks, models.training, models.imbalance, sites.against_sites),
    "Parts and answers": (models.partitions, sites.kept_out, models.fusion, tests.power),
    "Evaluation": (tests.figures, tests.probabilities),
    "Audit": (tests.audit, sites.transfer, tests.maps),
    "Software": (tests.software,),
}
Methods = dict[str, list[Statement]]


def methods(inputs: Inputs) -> Methods:
    """Heading -> sentences; a part about which nothing is known is left out."""
    found = {heading: [s for say in says for s in say(inputs)] for heading, says in PARTS.items()}
    return {heading: said for heading, said in found.items() if said}


def about(told: Methods, *topics: str) -> list[Statement]:
    """The sentences about some topics, in the order of the Methods."""
    return [s for said in told.values() for s in said if s.topic in topics]


def as_page(told: Methods) -> tuple[list[tuple[str, str]], list[str]]:
    """(heading, paragraph) with numbered references, and the keys of these in order."""
    numbers: dict[str, int] = {}
    paragraphs = [(heading, as_text(said, numbers)) for heading, said in told.items()]
    return paragraphs, list(numbers)


def files(told: Methods, title: str, stamp: str) -> dict[str, str]:
    """File name -> text: methods.md, methods.tex and references.bib.

    Args:
        told: From `methods`.
        title: Of the study.
        stamp: What every file must say, such as that the study leaks; empty for nothing.
    """
    cited = [c for said in told.values() for s in said for c in s.cites]
    head = [f"# Methods of {markdown(title)}", *([f"**{markdown(stamp)}.**"] if stamp else [])]
    text = [f"## {heading}\n\n{as_markdown(said)}" for heading, said in told.items()]
    tex = [f"\\section*{{{escaped(f'Methods of {title}')}}}", *([escaped(f"{stamp}.")] if stamp else [])]
    tex += [f"\\paragraph{{{escaped(heading)}}}\n{as_latex(said)}" for heading, said in told.items()]
    note = "Written by scan2gene from the files of the run. References: references.bib."
    return {
        "methods.md": "\n\n".join([*head, *text]) + f"\n\n{note}\n",
        "methods.tex": f"% {note} Needs natbib or biblatex for \\cite.\n" + "\n\n".join(tex) + "\n",
        "references.bib": bibtex([*cited, *GUIDELINES]),
    }


def joined(said: Sequence[Statement]) -> tuple[str, str]:
    """Sentences as plain text, and their sources, each once."""
    sources = dict.fromkeys(part for s in said for part in s.source.split("; "))
    return " ".join(s.text for s in said), "; ".join(sources)
