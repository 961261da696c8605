"""A frozen encoder of slices: each slice embedded once; heads, attention, maps and new exams follow from that."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from scan2gene.commands.apply import apply
from scan2gene.core.errors import StudyError
from scan2gene.core.section import Plugin
from scan2gene.core.tables import LABEL_COLUMNS, read_csv
from scan2gene.data.load import load_samples
from scan2gene.data.samples import sampling_of
from scan2gene.forward.logits import forward_variants
from scan2gene.learners import learner_of
from scan2gene.models import MODELS
from scan2gene.predict.aggregate import load_aggregate
from scan2gene.stages import pipeline
from tests.integration.road import fit_of
from tests.integration.slice_cohort import write_slice_study

pytestmark = pytest.mark.usefixtures("no_pictures")
FOLD = "holdout-r0-f0"
ATTENTION = {"name": "gated_attention", "options": {"epochs": 3}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A linear head and one with a hidden layer on one frozen encoder, which learned elsewhere."""
    folder = tmp_path_factory.mktemp("frozen")
    torch.manual_seed(0)
    torch.save(MODELS["light_cnn2d"](1, 1).state_dict(), folder / "encoder.pt")
    weights = {"file": "encoder.pt", "freeze": "all"}
    model = {"name": "light_cnn2d"}
    slices = {"per_patient": 8, "fusion": [ATTENTION, {"name": "mean"}]}
    study = write_slice_study(
        folder, patients=16, train={"epochs": 2, "learning_rate": 0.01}, data={"batch_size": 32, "slices": slices},
        evaluate={"bootstrap": 100, "shuffles": 0},
        explain={"exams": 1, "scored": 0, "methods": [{"name": "hires_cam"}]},
        runs=[{"name": "probe", "model": model, "weights": weights},
              {"name": "mlp", "model": model, "weights": weights | {"head": {"hidden": 4}}}],
    )  # fmt: skip
    return pipeline.run(study, folder / "out", until="explain"), study


def test_every_slice_is_embedded_once_for_all_heads(finished):
    out, _ = finished
    (path,) = (out / "embeddings").glob("*.parquet")
    table = pd.read_parquet(path)
    slices = pd.read_parquet(out / "predictions.parquet").query("unit == 'slice'")
    assert set(slices["run_id"]) == {"probe", "mlp"}
    for _, own in slices.groupby("run_id"):
        assert sorted(own["unit_id"]) == sorted(table["unit_id"])
    assert set(torch.load(out / "experiments" / "mlp" / FOLD / "best.pt", weights_only=True)) >= {"hidden.0.weight"}
    assert set(pd.read_parquet(out / "variants.parquet")["run_id"]) == set()


@pytest.mark.parametrize("run", ["probe", "mlp"])
def test_answers_are_those_of_encoder_and_head_put_together(finished, run):
    out, _ = finished
    fit = fit_of(out, run, FOLD)
    (store,) = (out / "store").iterdir()
    cohort, labels = read_csv(out / "cohort.csv"), read_csv(out / "labels.csv", LABEL_COLUMNS)
    data = load_samples(store, read_csv(store / "manifest.csv"), cohort, labels, sampling_of(fit.config))
    network = learner_of(fit.config).load(fit)
    passed = forward_variants(network, data, range(len(data.table)), 16, fit.config.predict)
    table = pd.read_parquet(out / "predictions.parquet").query(f"run_id == '{run}'")
    own = table[table["unit"] == "slice"]
    np.testing.assert_allclose(passed.logits["original"][:, 0], own["logit"], rtol=1e-4, atol=1e-5)
    assert np.ptp(own["logit"]) > 1e-3
    with torch.no_grad():
        embeddings = network.pool(network.forward_features(data.images)).numpy()
    attention = load_aggregate(Plugin(**ATTENTION), fit.config.outputs, fit.folder.path)
    attended = attention(type(passed)(passed.logits, embeddings), data.table)[:, 0]
    exams = table.query("unit == 'exam' and variant == 'original'").set_index("exam_id")["logit"]
    np.testing.assert_allclose(attended, exams[data.table["exam_id"].unique()], rtol=1e-3, atol=1e-4)


def test_new_exams_get_the_same_answers_and_maps_are_made(finished):
    out, study = finished
    again = apply(out, study.parent / "scans", out / "apply" / "own", force=True).predictions
    unit = ["run_id", "exam_id", "variant"]
    before = pd.read_parquet(out / "predictions.parquet").query("unit == 'exam'").set_index(unit)["logit"]
    after = again[again["variant"] != "ensemble"].set_index(unit)["logit"]
    np.testing.assert_allclose(after[before.index].astype(float), before, rtol=1e-4, atol=1e-5)
    maps = pd.read_csv(out / "explain" / "maps.csv")
    assert set(maps["run_id"]) == {"probe", "mlp"} and maps["map"].notna().any()


def test_a_patients_slices_are_not_harmonised_as_if_they_were_patients(finished, tmp_path):
    _, study = finished
    written = yaml.safe_load(study.read_text())
    written["cohort"] |= {"scans": [str(study.parent / "scans")], "labels": str(study.parent / "labels.csv"),
                          "site_column": "age"}  # fmt: skip
    written["data"]["harmonise"] = {"name": "combat"}
    for run in written["runs"]:
        run["weights"]["file"] = str(study.parent / "encoder.pt")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(written))
    with pytest.raises(StudyError, match=r"data.harmonise would take the slices of a patient for patients"):
        pipeline.run(tmp_path / "study.yaml", tmp_path / "out")
