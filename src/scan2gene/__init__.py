"""scan2gene: from MRI scans and a label table to networks, figures and a report that can be believed.

Research software; not for clinical use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"
__all__ = ["Run", "ScanClassifier", "Volume", "__version__", "apply", "index", "preprocess", "read_volume", "run"]

if TYPE_CHECKING:
    from scan2gene import preprocess
    from scan2gene.commands.apply import apply
    from scan2gene.commands.classifier import ScanClassifier
    from scan2gene.commands.finished_run import Run
    from scan2gene.core.volume import Volume
    from scan2gene.imaging.index import index, read_volume
    from scan2gene.stages.pipeline import run

# Resolved at first use, so that `import scan2gene` stays fast and needs no torch.
_WHERE = {
    "Run": "scan2gene.commands.finished_run",
    "ScanClassifier": "scan2gene.commands.classifier",
    "Volume": "scan2gene.core.volume",
    "apply": "scan2gene.commands.apply",
    "index": "scan2gene.imaging.index",
    "read_volume": "scan2gene.imaging.index",
    "run": "scan2gene.stages.pipeline",
}


def __getattr__(name: str) -> Any:
    if name == "preprocess":
        return importlib.import_module("scan2gene.preprocess")
    if name in _WHERE:
        return getattr(importlib.import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'scan2gene' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
