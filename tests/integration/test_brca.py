"""The BRCA recipe: its nine rows, and three of them from DICOM to the table of models."""

from __future__ import annotations

import base64
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import yaml

from scan2gene.core.study import Study
from scan2gene.data.augment import check_augmentation
from scan2gene.models.weights import WEIGHTS
from scan2gene.recipes import recipe_text
from scan2gene.stages.pipeline import check

sys.path.insert(0, str(Path(__file__).parents[2] / "studies"))
import brca_rows

VIT = {"size": [8, 16, 16], "patch": [4, 8, 8], "width": 48, "depth": 2, "heads": 3}
ROWS = {"resnet10-random": {}, "resnet10-medicalnet": {}, "m3d-probe": VIT}
# Table 1.3 of the BRCA report: model, weights
TABLE = [
    ("resnet10", "Random"), ("resnet10", "MedicalNet"), ("resnet18", "Random"), ("resnet18", "Kinetics"),
    ("resnet18", "MedicalNet"), ("resnet50", "Random"), ("resnet50", "Kinetics"), ("resnet50", "MedicalNet"),
    ("vit3d", "M3D"),
]  # fmt: skip


def test_the_recipe_has_the_rows_of_the_table_and_the_study_s_settings():
    study = Study.model_validate(yaml.safe_load(recipe_text("breast-brca")))
    check(study)
    rows = [(r.model.name, r.weights.name if r.weights else "random") for r in study.runs]
    assert [(m, w.split("-")[0]) for m, w in rows] == [(m, w.lower()) for m, w in TABLE]
    probe = study.runs[-1]
    assert probe.weights and probe.weights.probes and probe.preprocess
    assert probe.preprocess[-1].options == {"shape": [256, 256, 32]}
    assert probe.preprocess[:-1] == study.preprocess[:-1]
    steps = {s.name: s.options for s in study.data.augment}
    assert (steps["affine"]["rotation_degrees"], steps["noise"]["std"]) == (20, 0.02)
    assert "pad_and_crop" in steps
    train = study.train
    assert (train.optimizer, train.learning_rate, train.patience, train.schedule.name) == ("adam", 1e-3, 15, "plateau")


def test_the_stronger_augmentation_that_its_comment_offers_is_valid():
    text = recipe_text("breast-brca")
    block = re.search(r"  # augment:\n((?:  #   - .*\n)+)", text)
    steps = yaml.safe_load(block[1].replace("  #   ", ""))
    study = Study.model_validate(yaml.safe_load(text) | {"data": {"augment": steps}})
    check_augmentation(study.data.augment, list(study.targets))
    assert len(study.data.augment) > len(yaml.safe_load(text)["data"]["augment"])


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Iterator[Path]:
    study = brca_rows.study(tmp_path_factory.mktemp("brca"), 20, (16, 16, 8), 1, **ROWS)
    with pytest.MonkeyPatch.context() as patch:
        for name, card in WEIGHTS.items():
            patch.setitem(WEIGHTS, name, card)  # takes back what the stand-ins put on cards
        yield brca_rows.run(study, ["explain.exams=0"])


def test_three_rows_go_from_dicom_to_the_table(out):
    table = pd.read_csv(out / "report" / "tables" / "models-holdout-BRCA.csv").set_index("run")
    assert list(table.index) == list(ROWS)
    assert table["weights"].tolist() == ["random", "medicalnet-resnet10", "m3d-clip"]
    metrics = pd.read_csv(out / "metrics.csv").query("metric == 'auroc' and variant == 'original'").set_index("run_id")
    assert metrics.loc[list(ROWS), "value"].notna().all() and (table["training_seconds"] > 0).all()
    assert table["auroc"].isna().all()  # four patients are tested, and the page shows no figure of so few
    convolutions = 64 * 7**3 + 27 * (2 * 64 * 64 + sum(n * n // 2 + n * n for n in (128, 256, 512)))
    shortcuts = sum(n * n // 2 for n in (128, 256, 512))
    norms = 2 * (64 + 2 * 64 + 3 * (128 + 256 + 512))
    assert table["parameters"].tolist()[:2] == [convolutions + shortcuts + norms + 512 + 1 + 1] * 2  # the role's too
    assert table.loc["m3d-probe", "trained"] == 48 * 256 + 256 + (256 + 1) + 1


def test_what_a_run_started_from_is_named_in_results_and_table(out):
    results = json.loads((out / "results.json").read_text())
    begun = {run: of_run["holdout"]["BRCA"]["weights"] for run, of_run in results.items()}
    assert begun["m3d-probe"]["weights"] == ["m3d-clip"] and begun["m3d-probe"]["frozen"] == "all"
    assert "m3d-clip" in (out / "report" / "tables" / "models-holdout-BRCA.tex").read_text()


def test_the_report_shows_what_augmentation_does(out):
    (picture,) = (out / "experiments").rglob("augmentation.png")  # one list of steps, so one picture
    assert picture.parent.name == "resnet10-random"
    page = (out / "report.html").read_text()
    assert base64.b64encode(picture.read_bytes()).decode() in page
    assert "resnet10-random, resnet10-medicalnet: affine (rotation_degrees 20" in page
    assert (out / "report" / "figures" / "augmentation-resnet10-random.svg").exists()


def test_the_report_shows_equalisation_and_background_removal(out):
    pictures = {p.stem.split("-")[2]: p for p in (out / "store").rglob("preview/step-*.png")}
    assert sorted(pictures) == ["equalise", "remove_background"]
    page = (out / "report.html").read_text()
    assert all(base64.b64encode(p.read_bytes()).decode() in page for p in pictures.values())
    assert len(list((out / "report" / "figures").glob("step-*.svg"))) == 2


def test_the_recipe_shows_grad_cam_pp_of_both_kinds_of_positives():
    settings = Study.model_validate(yaml.safe_load(recipe_text("breast-brca"))).explain
    assert settings.methods[0].name == "grad_cam_pp" and settings.exams  # the report shows the first


def test_the_page_of_results_is_written_from_a_run(out):
    text = brca_rows.page(out, 60)
    assert "| resnet10-medicalnet | medicalnet-resnet10 (stand-in) |" in text
    assert "No released file was used" in text
    assert str(out.parent) not in text
