"""What a check or an audit says, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Status = Literal["issue", "warning", "passed", "not estimable"]


@dataclass(frozen=True)
class Finding:
    """One answer of a check.

    Args:
        title: What was looked at: "the same patient in training and test", or "verdict on IDH, split cv".
        status: "issue" where a figure is not to be believed as it stands, "warning" where it needs care, "passed", or
            "not estimable".
        sentence: What was found, without ids of patients.
        cases: How many cases stand behind it.
    """

    title: str
    status: Status
    sentence: str
    cases: int = 0
