"""Runs that start from a file of weights: fine-tuned, partly frozen and probed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import scan2gene
from scan2gene.core.errors import WeightsError
from scan2gene.core.tables import LABEL_COLUMNS, read_csv
from scan2gene.data.load import load_samples
from scan2gene.data.samples import sampling_of
from scan2gene.forward.logits import forward
from scan2gene.learners import learner_of
from scan2gene.models.checkpoint import read_checkpoint
from scan2gene.models.start import described
from scan2gene.models.weights import WEIGHTS
from tests.bare_fit import bare_fit
from tests.integration.road import edit, fit_of, nifti_study, shell
from tests.integration.starts import FOLD, best_of, record_of, run_of
from tests.stand_in import accept, write_stand_in

NAME = "medicalnet-resnet10"
pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module", autouse=True)
def cards_as_they_were() -> Iterator[None]:
    """Takes back what `accept` puts on cards."""
    with pytest.MonkeyPatch.context() as patch:
        for name, card in WEIGHTS.items():
            patch.setitem(WEIGHTS, name, card)
        yield


@pytest.fixture(scope="module")
def shelf(tmp_path_factory) -> Path:
    """A folder with a stand-in for a released file."""
    folder = tmp_path_factory.mktemp("weights")
    accept(NAME, write_stand_in(NAME, folder / "resnet_10_23dataset.pth", seed=1))
    return folder


@pytest.fixture(scope="module")
def out(shelf, tmp_path_factory) -> Path:
    """Fine-tuning, partly frozen, and two heads on the frozen encoder, in one study."""
    folder = tmp_path_factory.mktemp("study")
    runs = [
        run_of("tuned", weights={"name": NAME}, train={"pretrained_rate": 0.1}),
        run_of("part", weights={"name": NAME, "freeze": ["conv1", "bn1", "layer1", "layer2.0.conv1"]}),
        run_of("probe", weights={"name": NAME, "freeze": "all"}),
        run_of("mlp", weights={"name": NAME, "freeze": "all", "head": {"hidden": 8, "dropout": 0.1}}),
    ]
    study = nifti_study(
        folder, runs=runs, weights_dir=str(shelf), train={"epochs": 1, "learning_rate": 0.01}, explain={"exams": 0}
    )
    return scan2gene.run(study, folder / "run")


def test_every_fit_says_what_it_started_from(out):
    for run in ("tuned", "part", "probe", "mlp"):
        record = record_of(out, run)
        assert (record["weights"], record["licence"]) == (NAME, "MIT")
        assert record["tensors"] == record["tensors_wanted"] == 60
        assert record["options"]["geometry"] == "medicalnet"
        assert record["expected_intensities"] == "z-score over non-zero voxels"
        assert str(out.parent) not in json.dumps(record)


def test_frozen_layers_and_their_statistics_stay_and_others_move(out, shelf):
    file = read_checkpoint(shelf / "resnet_10_23dataset.pth")
    part, tuned = best_of(out, "part"), best_of(out, "tuned")
    for name, value in file.items():
        frozen = name.startswith(("conv1.", "bn1.", "layer1.", "layer2.0.conv1."))
        assert torch.equal(part[name], value) == frozen, name
        assert not torch.equal(tuned[name], value), name


def test_an_exam_is_embedded_once_for_all_heads(out):
    files = sorted((out / "embeddings").glob("*.parquet"))
    assert len(files) == 1
    table = pd.read_parquet(files[0])
    assert len(table) == 24
    assert len(table["embedding"][0]) == 512
    assert set(best_of(out, "probe")) == {"mean", "deviation", "head.linear.weight", "head.linear.bias"}
    assert best_of(out, "mlp")["hidden.0.weight"].shape == (8, 512)


@pytest.mark.parametrize("run", ["tuned", "probe", "mlp"])
def test_predictions_are_those_of_the_whole_network(run, out):
    """Encoder and head put together again give, from images, what the table has."""
    fit = fit_of(out, run, FOLD)
    network = learner_of(fit.config).load(fit)
    store = next((out / "store").iterdir())
    cohort, labels = read_csv(out / "cohort.csv"), read_csv(out / "labels.csv", LABEL_COLUMNS)
    data = load_samples(store, read_csv(store / "manifest.csv"), cohort, labels, sampling_of(fit.config))
    logits = forward(network, data, range(len(cohort)), 5)[:, 0]
    table = pd.read_parquet(out / "predictions.parquet")
    wanted = table[table["run_id"] == run].set_index("exam_id").loc[cohort["exam_id"], "logit"]
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)
    assert np.ptp(logits) > 1e-3


def test_standardisation_comes_from_the_training_part_only(out):
    split = pd.read_csv(out / "split.csv")
    train = set(split.loc[split["part"] == "train", "patient_id"])
    cohort = pd.read_csv(out / "cohort.csv").set_index("exam_id")
    table = pd.read_parquet(next((out / "embeddings").glob("*.parquet")))
    rows = table["exam_id"].map(cohort["patient_id"]).isin(train)
    wanted = np.stack(table.loc[rows, "embedding"].to_list()).mean(axis=0)
    np.testing.assert_allclose(best_of(out, "probe")["mean"].numpy(), wanted, rtol=1e-4, atol=1e-6)


def test_the_report_gives_away_no_folder(out, shelf):
    page = (out / "report.html").read_text()
    assert NAME in page
    assert str(shelf) not in page


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (run_of("a", weights={"name": "medicalnet-resnet11"}), "Did you mean 'medicalnet-resnet"),
        (run_of("a", "resnet18", weights={"name": NAME}), "are of a resnet10, its model is resnet18"),
        (run_of("a", weights={"name": NAME, "file": "x.pth"}), "one of name, file and run"),
        (run_of("a", weights={"freeze": "all"}), "one of name, file and run"),
        (run_of("a", weights={"name": NAME, "geometry": "standard"}), "geometry and channels go with file"),
        (run_of("a", weights={"name": NAME, "fold": "cv-r0-f0"}), "go with run"),
        (run_of("a", weights={"name": NAME, "head": {"hidden": 8}}), "head goes with freeze: all"),
        (run_of("a", weights={"name": NAME, "freeze": ["layer5"]}), "no layer 'layer5'; layers are conv1, bn1, layer1"),
        (run_of("a", weights={"file": "x.pth", "geometry": "medicalnett"}), "Did you mean 'medicalnet"),
        (run_of("a", "vit3d", weights={"name": "m3d-clip-vision"}) | {
            "model": {"name": "vit3d", "options": {"vector": "projected"}}}, "need vector 'cls'"),
        ({"name": "a", "model": {"name": "clinical", "options": {"columns": ["age"]}}, "weights": {"name": NAME}},
         "has no weights to start from"),
        (run_of("a", weights={"name": NAME, "freeze": "all"}, data={"augment": [{"name": "flip"}]}),
         "augmentation would change nothing"),
        (run_of("a", weights={"name": NAME}), "is not in"),
        (run_of("a", weights={"file": "x.pth"}), "there is no file of weights"),
        (run_of("a", weights={"run": "nowhere"}), "is no run directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_any_work(run, said, tmp_path, monkeypatch):
    study = nifti_study(tmp_path, 2, runs=[run], weights_dir="empty")
    message = shell(monkeypatch, "run", study, "-o", tmp_path / "run")
    assert message.startswith("error: ")
    assert said in message
    assert not (tmp_path / "run").exists()


def _plain(folder: Path, model, name: str = "own.pth", **options) -> Path:
    from scan2gene.models import MODELS

    torch.manual_seed(3)
    state = MODELS[model](options.pop("channels", 1), 1, **options).state_dict()
    torch.save({k: v for k, v in state.items() if not k.startswith("head.")}, folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("file", "weights", "said"),
    [
        ({"model": "resnet10"}, {}, "strides and dilations cannot be told from it"),
        ({"model": "light_cnn"}, {"geometry": "standard"}, "holds 0 of the encoder's 60 tensors"),
        ({"model": "resnet18"}, {"geometry": "standard"}, "that the encoder lacks (layer1.1.conv1.weight, "),
        ({"model": "resnet10", "channels": 3}, {"geometry": "kinetics"}, "has 3 input channels, the run has 1"),
        (
            {"model": "resnet10", "geometry": {"shortcut": "A"}},
            {"geometry": "medicalnet"},
            "layer2.0.downsample.0.weight",
        ),
        ({"model": "resnet10", "name": "resnet_10_23dataset.pth"}, {}, "is no released file"),
    ],
)
def test_a_file_that_is_not_of_this_network_is_one_clear_line(file, weights, said, tmp_path, monkeypatch):
    path = _plain(tmp_path, **file)
    study = nifti_study(tmp_path, 2, runs=[run_of("a", weights={"file": path.name, **weights})])
    message = shell(monkeypatch, "run", study, "-o", tmp_path / "run")
    assert message.startswith("error: ")
    assert said in message
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


def test_check_says_what_a_file_holds(shelf, tmp_path):
    known = described(shelf / "resnet_10_23dataset.pth")
    assert known[0].startswith("resnet_10_23dataset.pth: 72 tensors, such as conv1.weight (64, 1, 7, 7, 7), ")
    assert any(line.startswith(f"{NAME}; sha256 as ") for line in known)
    assert known[-1].startswith("60 of 60 encoder tensors fit resnet10")
    own = described(_plain(tmp_path, "resnet10", name="resnet_10_23dataset.pth"))
    assert "another sha256: not the released file" in own[2] and "weights.geometry" in own[3]


def test_an_unknown_file_loads_with_its_geometry_and_adapted_channels(tmp_path):
    path = _plain(tmp_path, "resnet10", channels=3, geometry="kinetics")
    geometry = {"stem_stride": [1, 2, 2]}
    weights = {"file": path.name, "geometry": geometry, "channels": "adapt"}
    study = nifti_study(tmp_path, 12, runs=[run_of("a", weights=weights)], train={"epochs": 1})
    record = record_of(scan2gene.run(study, tmp_path / "run", until="train"), "a")
    assert (record["channels"], record["options"]) == ("3 -> 1", {"geometry": geometry})


def test_eight_bit_images_are_mapped_to_what_the_weights_saw(tmp_path):
    """Kinetics saw 0 to 1 less its mean, over its deviation; stored bytes reach networks as -1 to 1."""
    write_stand_in("kinetics-resnet18", tmp_path / "r3d18_K_200ep.pth")
    steps = [{"name": "crop_or_pad", "options": {"shape": [8, 8, 8]}}, {"name": "min_max_uint8"}]
    runs = [run_of("a", "resnet18", weights={"name": "kinetics-resnet18", "freeze": "all"})]
    study = nifti_study(tmp_path, 12, runs=runs, preprocess=steps, weights_dir=".", train={"epochs": 1})
    record = record_of(scan2gene.run(study, tmp_path / "run", until="train"), "a")
    scale, shift = record["options"]["input_map"]
    for byte in (0, 100, 255):
        seen = (byte / 127.5 - 1) * scale + shift
        assert seen == pytest.approx((byte / 255 - 0.4057) / 0.2739, abs=1e-6)
    assert record["channels"] == "3 -> 1"
    assert "mapped" in record["given_intensities"]


def test_a_head_on_a_frozen_encoder_is_no_start(out, tmp_path):
    study = nifti_study(tmp_path, 12, runs=[run_of("a", weights={"run": str(out), "name": "probe"})])
    with pytest.raises(WeightsError, match=f"is a head on a frozen encoder, {NAME}; start from that instead"):
        scan2gene.run(study, tmp_path / "run")


def test_500_stored_embeddings_train_in_seconds(tmp_path):
    """A planted direction is found, and no image is touched."""
    from scan2gene.core.study_runs import Data, Train
    from scan2gene.data.samples import Samples
    from scan2gene.models.probe import Probe
    from scan2gene.train.loop import fit_network

    generator = torch.Generator().manual_seed(0)
    y = (torch.arange(500) % 2).float()
    vectors = torch.randn(500, 768, generator=generator) * torch.logspace(-4, 2, 768)
    vectors[:, :40] += 0.6 * y[:, None] * torch.logspace(-4, 2, 768)[:40]  # in the smallest parts
    exams = pd.DataFrame({"patient_id": [f"P{n}" for n in range(500)], "exam_id": [f"E{n}" for n in range(500)]})
    data = Samples(exams, vectors, torch.ones(500, 1), y[:, None], {}, ("gene",))

    def build() -> Probe:
        probe = Probe(768, 1, 1, hidden=64)
        probe.fit_scale(vectors[:300])
        return probe

    started = time.perf_counter()
    view, train = Data(batch_size=32), Train(device="cpu", epochs=20)
    fit_network(bare_fit(tmp_path, view, train, 1), build, data, np.arange(300), np.arange(300, 500))
    assert time.perf_counter() - started < 20
    assert pd.read_csv(tmp_path / "history.csv")["validation_auroc"].max() > 0.8


def test_another_file_of_that_name_is_trained_anew(out, shelf, tmp_path, capsys):
    before = (out / "experiments" / "tuned" / FOLD / "best.pt").stat().st_mtime_ns
    study = out.parent / "study.yaml"
    scan2gene.run(study, out)
    assert "4 fits, 0 new" in capsys.readouterr().out
    accept(NAME, write_stand_in(NAME, tmp_path / "resnet_10_23dataset.pth", seed=2))
    edit(study, weights_dir=str(tmp_path), runs=yaml.safe_load(study.read_text())["runs"][2:])
    scan2gene.run(study, out, until="train")
    said = capsys.readouterr().out
    assert "2 fits, 2 new" in said
    assert f"60 of 60 encoder tensors from {NAME}" in said
    assert said.count("24 exams embedded") == 1
    assert (out / "experiments" / "tuned" / FOLD / "best.pt").stat().st_mtime_ns == before
