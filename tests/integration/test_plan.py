"""`scan2gene plan` before any training."""

from __future__ import annotations

import pytest

from scan2gene.plan import plan, told
from tests.integration.road import edit, nifti_study, shell


@pytest.fixture
def study(tmp_path):
    return nifti_study(
        tmp_path, 40, splits=[{"name": "cv", "kind": "kfold", "folds": 4}],
        runs=[{"name": "light", "model": {"name": "light_cnn"}},
              {"name": "age", "model": {"name": "clinical", "options": {"columns": ["age"]}}}],
    )  # fmt: skip


def test_counts_power_and_costs(study, tmp_path):
    found = plan(study, tmp_path / "run")
    (row,) = found.targets.to_dict("records")
    assert (row["positive"], row["negative"]) == (20, 20)  # each tested once
    assert 0.7 < row["detectable_auroc"] < 0.8
    light, age = found.costs
    assert (light.grid, light.volumes, light.fits) == ((8, 8, 8), 40, 4)
    assert light.disk_bytes == 40 * 8**3 * 4  # zscore stores float32
    assert 0 < light.least_seconds <= light.most_seconds
    assert 10**5 < light.memory_bytes < 10**8
    larger = plan(study, tmp_path / "run", ["data.batch_size=32"]).costs[0]
    assert larger.memory_bytes > light.memory_bytes + 24 * 16 * 8**3 * 4  # 24 more exams, 16 channels at full size
    assert age.grid == ()
    assert not (tmp_path / "run" / "store").exists()
    assert not list((tmp_path / "run").glob("experiments/*"))


def test_a_target_that_cannot_be_estimated_is_said_so(study, tmp_path):
    table = (tmp_path / "labels.csv").read_text().splitlines()
    spoilt = [table[0]] + [
        f"{line.split(',')[0]},{int(n < 5)},{line.split(',')[2]}" for n, line in enumerate(table[1:])
    ]
    (tmp_path / "labels.csv").write_text("\n".join(spoilt) + "\n")
    found = plan(study, tmp_path / "run")
    assert any("gene cannot be estimated in split cv, because 5 of 40 are positive" in w for w in found.warnings)


def test_a_network_that_does_not_fit_the_grid_is_named(study, tmp_path):
    edit(study, preprocess=[{"name": "crop_or_pad", "options": {"shape": [2, 2, 2]}}, {"name": "zscore"}])
    found = plan(study, tmp_path / "run", ["runs.light.model.name=resnet50"])
    assert "\n".join(told(found))
    assert found.costs[0].reason or found.costs[0].epoch_seconds > 0


def test_the_shell_prints_it(study, tmp_path, monkeypatch, capsys):
    assert shell(monkeypatch, "plan", study, "-o", tmp_path / "run") == ""
    out = capsys.readouterr().out
    assert "smallest AUROC told from chance with 80 % power: 0.7" in out
    assert "light           8x8x8" in out


def test_two_series_for_one_role_are_a_warning_in_every_verb(study, tmp_path, monkeypatch, capsys):
    for folder in sorted((tmp_path / "scans").iterdir())[:12]:  # two equal series of 12 of 40 patients
        (folder / "t1_again.nii.gz").write_bytes((folder / "t1.nii.gz").read_bytes())
    scans, labels, run = tmp_path / "scans", tmp_path / "labels.csv", tmp_path / "run"
    verbs = (("curate", study, "-o", run), ("plan", study, "-o", run), ("qc", study, "--run", run),
             ("new", "--scans", scans, "--labels", labels, "-o", tmp_path / "new.yaml"))  # fmt: skip
    for words in verbs:
        assert shell(monkeypatch, *words) == ""
        assert "role t1: several series fit in 12 of 40 exams" in capsys.readouterr().out, words
    for page in (run / "qc.html", tmp_path / "new.yaml"):
        assert "several series fit in 12 of 40 exams" in page.read_text()
