"""Yes or no: one output, the log odds of yes."""

from __future__ import annotations

from scan2gene.tasks.task import Task

POSITIVE = "positive"

BINARY = Task(
    description="present or absent",
    loss="binary_cross_entropy",
    labels=lambda classes: (POSITIVE,),
    columns=lambda classes: ("",),
    encode=lambda values, count: values[:, None],
    log_odds=lambda logits: logits,
)
