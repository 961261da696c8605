"""Kinds of targets. To add one: a file with its `Task`, a line here, and its loss in `train.loss.LOSSES`."""

from scan2gene.tasks.binary import BINARY
from scan2gene.tasks.multiclass import MULTICLASS
from scan2gene.tasks.task import Task

TASKS: dict[str, Task] = {"binary": BINARY, "multiclass": MULTICLASS}
