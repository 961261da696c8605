"""What is to be known of a public cohort: where its images lie, and how its label table is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class PublicCohort:
    """A public cohort.

    Args:
        title: One line.
        page: Where it is described, licensed and cited, and where its label table lies.
        labels: The table with its labels, by the name that the page gives it.
        cohort: The study file's part `cohort`, without scans; what is EDIT there is said in `notes`.
        targets: The study file's part `targets`.
        collection: `collection_id` in Imaging Data Commons; empty where its images are not open there.
        series: Pattern of the SeriesDescriptions that the roles take; narrows a download.
        closed: Why the images cannot be fetched, and how to get them.
        notes: Traps, one line each.
    """

    title: str
    page: str
    labels: str
    cohort: dict[str, Any]
    targets: dict[str, Any]
    collection: str = ""
    series: str = ""
    closed: str = ""
    notes: tuple[str, ...] = field(default=())
