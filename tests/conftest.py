"""What every test may use: the real data beside the repository, and hypothesis without files or deadlines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("scan2gene", deadline=None, database=None, max_examples=50)
settings.load_profile("scan2gene")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data. Absent: a skip, or a failure where SCAN2GENE_REQUIRE_DATA is set."""
    if not SHARED_DATA.is_dir():
        reason = f"the real data is not at {SHARED_DATA}"
        if os.environ.get("SCAN2GENE_REQUIRE_DATA"):
            pytest.fail(reason)
        pytest.skip(reason)
    return SHARED_DATA


@pytest.fixture(autouse=True, scope="session")
def maps_by_pca() -> Iterator[None]:
    """Small runs map embeddings by PCA: UMAP compiles for ten seconds in every process, and tests of its own use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scan2gene.evaluate.embedding_map.UMAP_EXAMS", 10**6)
        yield


@pytest.fixture(scope="module")
def no_pictures() -> Iterator[None]:
    """Runs of the module draw no previews: half a second each, and other modules look at them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write_previews", "write_step_pictures"):
            patch.setattr(f"scan2gene.preprocess.preview.{name}", lambda *_: [])
        yield
