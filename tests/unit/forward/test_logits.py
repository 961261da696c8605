"""Variants and embeddings of the forward pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from tests.bare_fit import bare_fit
from torch import Tensor, nn

from scan2gene.core.study_runs import Predict
from scan2gene.data.samples import Samples
from scan2gene.forward.logits import forward, forward_variants
from scan2gene.models import MODELS
from scan2gene.models.head import RoleAwareHead
from scan2gene.models.sides import TwoSides
from scan2gene.predict.table import embedding_rows, prediction_rows, write_embeddings
from scan2gene.tasks.outputs import Output

NAMES = ("m.L", "brca", "m.R")


def _cohort(n: int = 7) -> Samples:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(n, 2, 8, 10, 12, generator=generator)
    present = torch.ones(n, 2)
    present[1, 1] = 0
    exams = pd.DataFrame({"patient_id": [f"P{i}" for i in range(n)], "exam_id": [f"E{i}" for i in range(n)]})
    return Samples(exams, images, present, torch.zeros(n, len(NAMES)), {}, NAMES)


class _HalfMeans(nn.Module):
    """Knows left from right by construction: mean of the low half along i, of all, and of the high half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        parts = (x[..., :half], x, x[..., half:])
        return self.scale * torch.stack([p.mean(dim=(1, 2, 3, 4)) for p in parts], dim=1)


@pytest.mark.parametrize("flips", [["i"], ["j"], ["k", "i"], ["i", "j", "k"]])
def test_a_network_that_mirrors_its_answers_is_not_changed_by_mirrored_copies(flips):
    data = _cohort()
    passed = forward_variants(_HalfMeans(), data, range(7), 3, Predict(flips=flips))
    np.testing.assert_allclose(passed.logits["tta"], passed.logits["original"], atol=1e-6)
    assert np.abs(np.diff(passed.logits["original"], axis=1)).min() > 1e-4  # the outputs do differ


def test_without_swapping_back_it_would_be():
    plain = _cohort()
    nameless = Samples(plain.table, plain.images, plain.present, plain.targets, {})
    passed = forward_variants(_HalfMeans(), nameless, range(7), 3, Predict(flips=["i"]))
    assert np.abs(passed.logits["tta"] - passed.logits["original"])[:, 0].max() > 1e-3


def test_tta_is_the_mean_over_the_copies():
    torch.manual_seed(0)
    model, data = MODELS["light_cnn"](2, 3).eval(), _cohort()
    passed = forward_variants(model, data, range(7), 4, Predict(flips=["i", "j"]))
    with torch.no_grad():
        x, present = data.images * data.present[:, :, None, None, None], data.present
        copies = [model(x, present), model(x.flip(4), present)[:, [2, 1, 0]], model(x.flip(3), present),
                  model(x.flip(3, 4), present)[:, [2, 1, 0]]]  # fmt: skip
    np.testing.assert_allclose(passed.logits["tta"], torch.stack(copies).mean(dim=0).numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["light_cnn", "resnet10"])
def test_embeddings_give_the_logits_through_the_head(name):
    torch.manual_seed(0)
    model, data = MODELS[name](2, 3).eval(), _cohort(3)
    passed = forward_variants(model, data, [2, 0, 1], 2, Predict(flips=["i"]))
    assert passed.embeddings is not None
    assert passed.embeddings.dtype == np.float32
    (head,) = (m for m in model.modules() if isinstance(m, RoleAwareHead))
    with torch.no_grad():
        logits = head(torch.from_numpy(passed.embeddings), data.present[[2, 0, 1]])
    np.testing.assert_allclose(logits.numpy(), passed.logits["original"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(passed.logits["original"], forward(model, data, [2, 0, 1], 2))


def test_embeddings_of_two_sides_are_those_of_the_left_and_then_of_the_right_half():
    torch.manual_seed(0)
    outputs = [("m", "L"), ("brca", ""), ("m", "R")]
    model, data = TwoSides(MODELS["light_cnn"](2, 2), outputs, "i", "L").eval(), _cohort(5)
    passed = forward_variants(model, data, range(5), 2, Predict(flips=["i"]))
    left, right = np.split(passed.embeddings, 2, axis=1)
    with torch.no_grad():
        halves = [model.network.head(torch.from_numpy(h), data.present).numpy() for h in (left, right)]
    wanted = np.stack([halves[0][:, 0], (halves[0][:, 1] + halves[1][:, 1]) / 2, halves[1][:, 0]], axis=1)
    np.testing.assert_allclose(passed.logits["original"], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(passed.logits["tta"], passed.logits["original"], rtol=1e-4, atol=1e-5)


def test_a_row_per_side_with_its_own_label():
    cohort = pd.DataFrame({"patient_id": ["P1", "P2"], "exam_id": ["E1", "E2"], "site": None})
    labels = pd.DataFrame(
        [("P1", "L", "m", 1.0, ""), ("P1", "R", "m", 0.0, ""), ("P2", np.nan, "brca", 1.0, "")],
        columns=["patient_id", "side", "target", "value", "source"],
    )
    outputs = [Output("m", "L"), Output("m", "R"), Output("brca")]
    fit = replace(bare_fit(None, outputs=outputs), parts={"P1": "test", "P2": "train"})
    table = prediction_rows(fit, cohort, labels, {"E1": np.array([1.0, 2.0, 3.0])}, {"E2": "cut short"})
    assert table["unit_id"].tolist() == ["E1:L", "E1:R", "E1", "E2:L", "E2:R", "E2"]
    assert table["unit"].tolist() == ["side", "side", "exam"] * 2
    np.testing.assert_array_equal(table["y_true"], [1, 0, np.nan, np.nan, np.nan, 1])
    np.testing.assert_array_equal(table["logit"], [1, 2, 3, np.nan, np.nan, np.nan])
    assert set(table["variant"]) == {"original"}
    assert table["part"].tolist() == ["test"] * 3 + ["train"] * 3
    assert table["reason"].tolist() == [""] * 3 + ["cut short"] * 3


def test_embeddings_of_networks_of_different_width_share_a_file(tmp_path):
    exams = pd.DataFrame({"patient_id": ["P1", "P2"], "exam_id": ["E1", "E2"]})
    fit = replace(bare_fit(None, seed=1), parts={"P1": "test", "P2": "train"})
    tables = [
        embedding_rows(fit, exams, np.full((2, width), 0.5, np.float32)).assign(run_id=run)
        for run, width in {"a": 3, "b": 5}.items()
    ]
    path = tmp_path / "embeddings.parquet"
    write_embeddings(path, iter(tables))
    assert pq.ParquetFile(path).num_row_groups == 2
    read = pd.read_parquet(path)
    assert read["embedding"].map(len).tolist() == [3, 3, 5, 5]
    assert read.loc[3, ["run_id", "part", "patient_id", "fold"]].tolist() == ["b", "train", "P2", 1]
    write_embeddings(path, [])
    assert pd.read_parquet(path).empty
