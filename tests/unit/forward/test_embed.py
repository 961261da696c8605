"""Embeddings: the same from memory and from disk, a batch at a time, and kept whole."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import torch

from scan2gene.data.samples import Samples
from scan2gene.forward.embed import embed, read_embeddings, write_embeddings
from scan2gene.models import MODELS


class _Watched:
    """Images that say how many exams are asked for at once."""

    def __init__(self, images: torch.Tensor):
        self.images, self.dtype, self.asked = images, images.dtype, []

    def __getitem__(self, rows: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(rows))
        return self.images[rows]


def _cohort() -> Samples:
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(0, 255, (11, 2, 8, 12, 10), generator=generator, dtype=torch.uint8)
    exams = pd.DataFrame({"exam_id": [f"E{n}" for n in range(11)]})
    present = torch.ones(11, 2)
    present[3, 1] = 0
    return Samples(exams, images, present, torch.zeros(11, 1), {})


def test_embeddings_are_what_the_head_sees_whatever_the_batch():
    data = _cohort()
    model = MODELS["light_cnn"](2, 1, dropout=0.5)
    watched = _Watched(data.images)
    vectors = embed(model, replace(data, images=watched), batch_size=4)
    assert watched.asked == [4, 4, 3]  # a batch at a time
    torch.testing.assert_close(vectors, embed(model, data, batch_size=11))
    x = data.images.float() / 127.5 - 1
    x[3, 1] = 0
    with torch.no_grad():
        torch.testing.assert_close(vectors, model.eval().pool(model.forward_features(x)))


def test_kept_embeddings_come_back_in_any_order_and_only_whole(tmp_path):
    data = _cohort()
    vectors = torch.randn(11, 7)
    path = tmp_path / "e.parquet"
    write_embeddings(path, data.table, vectors)
    turned = data.table.iloc[::-1]
    assert torch.equal(read_embeddings(path, turned), vectors.flip(0))
    assert read_embeddings(path, pd.DataFrame({"exam_id": ["E0", "E99"]})) is None
    path.write_bytes(path.read_bytes()[:200])
    assert read_embeddings(path, data.table) is None
    assert read_embeddings(tmp_path / "none.parquet", data.table) is None
