"""What a paper needs of a run: Methods, checklists and cards, as files and for the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from scan2gene.core.leakage import stamp_of
from scan2gene.report import cards, checklists
from scan2gene.report.claim import CLAIM
from scan2gene.report.inputs import Inputs
from scan2gene.report.known import Known
from scan2gene.report.methods import as_page, files, methods
from scan2gene.report.references import in_words
from scan2gene.report.results import Scores
from scan2gene.report.tripod_ai import TRIPOD_AI

CHECKLISTS = (CLAIM, TRIPOD_AI)


@dataclass(frozen=True)
class Paper:
    """Files by their path below `report/`, and what the page shows.

    Args:
        texts: Path -> text.
        tables: Path -> table, to be written as CSV.
        page: For the template.
    """

    texts: dict[str, str]
    tables: dict[str, pd.DataFrame]
    page: dict[str, Any]


def paper(inputs: Inputs, found: Scores) -> Paper:
    """Methods, checklists and cards of a run.

    Args:
        inputs: The run directory.
        found: Its figures.
    """
    targets = [*inputs.several, *inputs.questions]
    order = [(run.name, s.name, t) for s in inputs.study.splits for t in targets for run in inputs.study.runs]
    found = {key: found[key] for place in order for key in found if key[:3] == place}
    told, stamp, name = methods(inputs), stamp_of(inputs.study), inputs.study.name
    known = Known(inputs, told, found)
    answered = [(checklist, checklists.answers(checklist, known)) for checklist in CHECKLISTS]
    made = [cards.shown(card) for card in (cards.model_card(known), cards.data_card(known))]
    texts = {f"paper/{file}": text for file, text in files(told, name, stamp).items()}
    texts |= {f"cards/{card.name}.md": cards.as_markdown(card, name, stamp) for card in made}
    texts |= {f"checklists/{c.name}.md": checklists.as_markdown(c, a, name, stamp) for c, a in answered}
    paragraphs, cited = as_page(told)
    return Paper(
        texts,
        {f"checklists/{c.name}.csv": checklists.table(a) for c, a in answered},
        {
            "checklists": [checklists.on_page(c, a) for c, a in answered],
            "cards": made,
            "methods": paragraphs,
            "references": [in_words(key) for key in cited],
        },
    )
