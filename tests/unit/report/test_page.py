"""The page: whole, honest, offline, and silent about who the patients are."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from fake_run import EVIL, PATIENTS, write_run

from scan2gene.core.errors import RunError
from scan2gene.core.study import Study
from scan2gene.core.tables import MEAN, read_csv, write_csv
from scan2gene.core.text import interval_text
from scan2gene.report import results
from scan2gene.report.figures import mean_roc, roc_points
from scan2gene.report.inputs import read_inputs
from scan2gene.report.page import SECTIONS, make_report, write_report
from scan2gene.stats.metrics import auroc

VOID = {"meta", "img", "br", "input", "line", "rect", "circle", "polyline", "polygon"}


class Page(HTMLParser):
    """Tags, attributes and visible text; refuses tags that close in the wrong order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"
        self.text += " " if tag in ("td", "th") else ""

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture
def finished(tmp_path):
    """A run that a test may change."""
    return write_run(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that tests only read, and that `html` and `page` show."""
    return write_run(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def html(whole) -> str:
    return write_report(*whole)


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def flat(page: Page) -> str:
    return " ".join(page.text.split())


def without_data(html: str) -> str:
    return re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "data:", html)


def test_the_page_is_whole(page):
    assert page.open == []
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert [i for i in ids if not i.startswith("h-")] == [name for name, _ in SECTIONS]
    assert "not for clinical use" in page.text


def test_nothing_is_loaded_or_run(html, page):
    assert not {t for t, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "href", "xlink:href", "data", "poster", "action"):
                assert value.startswith(("#", "data:image/png")), (tag, name, value)
    assert "url(" not in html and "@import" not in html
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy


def test_links_lead_somewhere(page):
    ids = {a["id"] for _, a in page.tags if "id" in a}
    links = [a["href"][1:] for t, a in page.tags if t == "a"]
    assert links and set(links) <= ids


def test_user_text_is_escaped(html, page):
    assert "<script" not in html.lower()
    # in the question, a study description, a manufacturer, a reason, a pattern, an option, a licence
    assert page.text.count(EVIL) >= 7
    assert any(EVIL in (a.get("aria-label") or "") for t, a in page.tags if t == "svg") or EVIL in page.text


def test_no_missing_value_is_printed(html, page):
    shown = re.sub(r"NaN &amp; Sons", "", without_data(html))
    assert not re.search(r"\b(nan|NaN|inf|None|NaT|undefined)\b", shown)
    assert "not known" not in page.text  # the net below is for what a section forgot


def test_missing_figures_have_reasons(page):
    assert "cannot be estimated, because 0 positive among 3 labelled test patients; both classes are needed" in flat(
        page
    )
    assert "0.5 was used instead: idh, cv: 6 of 6 fits" in flat(page)


def test_nobody_and_no_folder_is_named(html, whole):
    shown = without_data(html)
    for name in [
        *PATIENTS,
        "PAT-0090",
        "PAT-0091",
        "1.2.840.99999",
        "Jane Roe",
        "t1 post",
        str(whole[1].parent),
        str(Path.home()),
    ]:
        assert name not in shown, name
    assert not re.search(r"(?<![\w<])/(home|tmp|root|opt)/", shown)


def test_figures_are_those_of_the_metric_table(page, whole):
    table = pd.read_csv(whole[1] / "metrics.csv")
    text = flat(page)
    rows = table[table["low"].notna()]
    assert len(rows) >= 8
    for row in rows.itertuples():
        assert f"{row.value:.3f}" in text and interval_text(row.low, row.high) in text
    net = rows.query("run_id == 'net' and split == 'cv' and metric == 'auroc'").iloc[0]
    answer = text.split("AUROC with 95 % interval, test patients of cv")[1].split("test patients of sites")[0]
    assert f"{net['value']:.3f} ({interval_text(net['low'], net['high'])})" in answer


def test_a_changed_figure_changes_the_table_of_the_answer(finished):
    study, out, stores = finished
    table = pd.read_csv(out / "metrics.csv")
    chosen = (
        (table["run_id"] == "net")
        & (table["split"] == "cv")
        & (table["target"] == "idh")
        & (table["metric"] == "auroc")
    )
    table.loc[chosen, ["value", "low", "high"]] = [0.3, 0.2, 0.4]
    table.to_csv(out / "metrics.csv", index=False)
    text = flat(Page(write_report(study, out, stores)))
    assert re.search(r"net ?light_cnn ?0\.300 \(0\.200–0\.400\) ?40 patients, 25 positive", text)


def test_failed_exams_are_counted_with_their_reason(page):
    text = flat(page)
    assert re.search(r"broken \[path\] is cut short 4 ", text)  # 4 exams, not 4 times folds and targets
    assert "39 volumes prepared, 1 failed" in text


def test_an_exam_that_fails_in_every_repeat_is_one_failed_exam(finished):
    study, out, stores = finished
    table = pd.read_parquet(out / "predictions.parquet")
    pd.concat([table, table.assign(repeat=1)]).to_parquet(out / "predictions.parquet")
    inputs = read_inputs(study, out, stores)
    rows = results.metrics(inputs, results.scores(inputs))["tables"][0]["rows"]
    assert {r["run"]: r["failed"] for r in rows} == {"net": 0, "broken": 4, "age": 0}


def test_exclusions_are_grouped(page):
    assert "cannot read [path] 2" in flat(page)
    assert "2 × cannot read [path]" in flat(page)


def test_a_site_with_one_class_is_pointed_out(page):
    assert "south has only positive patients for idh." in flat(page)
    assert "north has only" not in flat(page)  # rare has one class everywhere; that is another fault


def test_patients_of_a_fold_with_one_class_are_said_not_to_count(page):
    answer = flat(page).split("AUROC with 95 % interval, test patients of ")
    one_class = "10 patients tested in folds with one class only, who do not count in the AUROC."
    assert answer[1].startswith("cv") and one_class not in answer[1]
    assert answer[2].startswith("sites") and f"idh, net, broken and age: {one_class}" in answer[2]


def test_class_counts_by_part(page):
    # cv, idh positive: 25 patients, 12 or 13 of them tested in each fold
    assert re.search(r"idh positive .{,50} 12–13 ?12–13 volumes", flat(page))


def test_volumes_are_counted_beside_patients_with_totals(whole):
    study, out, stores = whole
    table = make_report(study, out, stores).tables["classes-cv"].csv
    table = table[table["target"] == "idh"].set_index(["class", "unit"])["all"]
    cohort, labels = read_csv(out / "cohort.csv"), read_csv(out / "labels.csv")
    known = labels[(labels["target"] == "idh") & labels["value"].notna()].set_index("patient_id")["value"].astype(float)
    roles = [c for c in cohort if c.startswith("role:")]
    held = cohort.set_index("patient_id")[roles].notna().sum(axis=1).groupby(level=0).sum()
    for name, patients in (("positive", known.index[known == 1]), ("negative", known.index[known == 0]),
                           ("both classes", known.index)):  # fmt: skip
        assert table[name, "patients"] == str(len(patients))
        assert table[name, "volumes"] == str(held[patients].sum())


def test_runs_are_compared_by_means_over_targets_in_their_plots(whole):
    study, out, stores = whole
    metrics = pd.read_csv(out / "metrics.csv")
    one = metrics[(metrics["target"] == "idh") & metrics["metric"].isin(["accuracy", "auroc", "log_loss"])]
    metrics = pd.concat([metrics[metrics["target"] != MEAN], one.assign(target=MEAN)])
    write_csv(out / "metrics.csv", metrics)
    report = make_report(study, out, stores)
    value = {m: one[(one["metric"] == m) & (one["split"] == "cv")]["value"] for m in ("accuracy", "log_loss")}
    for run in ("net", "broken"):
        drawn = str(report.plots[run]["comparison-cv"])
        assert all(f"{v:.3f}" in drawn for column in value.values() for v in column)
        assert drawn.count('font-weight="600">' + run) == 1
    assert report.plots["net"]["comparison-cv"] != report.plots["broken"]["comparison-cv"]
    assert set(report.tables["metrics"].csv["target"]) == {"idh", "rare"}  # the page's tables are of targets


def test_training_notes(page):
    text = flat(page)
    assert "broken, cv. Hardly trained: no fit improved on validation after epoch 2" in text
    assert "net, cv. Hardly trained" not in text
    assert "net, cv. 2 of 2 fits were stopped by the limit of 20 epochs" in text
    assert "train 18 min" in text  # 12 fits of 90 s, baseline included


def test_empty_columns_are_not_shown_and_single_descriptions_are_pooled(page):
    captions = flat(page)
    assert "Field strength" not in captions and "Slice thickness" not in captions
    assert "In-plane spacing" in captions and "Study description" in captions
    assert "of one patient only" in captions


def test_every_figure_has_a_text_alternative(page):
    images = [(t, a) for t, a in page.tags if t in ("svg", "img")]
    assert {t for t, _ in images} == {"svg", "img"}
    for tag, attributes in images:
        words = attributes.get("alt") if tag == "img" else attributes.get("aria-label")
        assert words and len(words) > 15
        assert tag == "img" or attributes["role"] == "img"


def test_same_run_directory_same_page_wherever_it_lies(html, tmp_path):
    elsewhere = tmp_path / "another place"
    again = write_report(*write_run(elsewhere))
    undated = [re.sub(r"\d{4}-\d\d-\d\d", "DATE", text) for text in (html, again)]
    assert undated[0] == undated[1]


def test_many_big_previews_do_not_make_the_page_too_big(finished):
    study, out, stores = finished
    noise = np.random.default_rng(0).bytes(3_000_000)
    for number in range(2, 8):
        (stores["net"] / "preview" / f"{number}.png").write_bytes(noise)
    text = write_report(study, out, stores)
    assert 3_500_000 < len(text.encode()) < 15_000_000
    assert "Left out: 5 pictures, to keep" in flat(Page(text))


def test_the_printed_settings_are_a_study(page, whole):
    text = page.text[page.text.index("name: fake\nquestion") :]
    printed = yaml.safe_load(text[: text.index("Made by scan2gene")])
    again = Study.model_validate(printed)
    assert again.runs[0] == whole[0].runs[0]
    assert again.cohort.labels == "labels.csv" and again.cohort.scans == ["scans"]
    assert again.runs[1].model.options == {"weights": "w.pt"}
    assert again.cohort.exclude == {"path": "[id]"}
    assert again.splits == whole[0].splits and again.targets == whole[0].targets


@pytest.mark.parametrize("name", ["metrics.csv", "flow.json", "predictions.parquet", "results.json"])
def test_a_missing_file_is_named(finished, name):
    (finished[1] / name).unlink()
    with pytest.raises(RunError, match=re.escape(name)):
        write_report(*finished)


def test_a_study_of_baselines_only(finished):
    study, out, _ = finished
    study = study.model_copy(update={"runs": [r for r in study.runs if r.name == "age"]})
    shutil.rmtree(out / "store")
    text = flat(Page(write_report(study, out, {})))
    assert "No network took part" in text
    assert "alone:" not in text  # a baseline is not compared with itself
    assert "No verdict: the run was not audited, or it has no network." in text or "idh: " in text


def test_no_torch_and_no_plotting_library_is_imported():
    code = "import sys, scan2gene.report.page; print([m for m in ('torch', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_roc_points_by_hand():
    fpr, tpr = roc_points(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.8, 0.1]))  # a tie moves both at once
    assert fpr.tolist() == [0, 0, 0.5, 1]
    assert tpr.tolist() == [0, 0.5, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_the_area_below_the_mean_curve_is_the_reported_auroc(seed):
    rng = np.random.default_rng(seed)
    folds = []
    for size in (9, 14, 23):
        y = (np.arange(size) % 3 == 0).astype(float)
        folds.append((y, np.round(rng.random(size) + 0.3 * y, 1)))  # rounded: ties
    y, score = (np.concatenate([f[i] for f in folds]) for i in (0, 1))
    groups = np.repeat(np.arange(3), [9, 14, 23])
    fpr, tpr = mean_roc(folds)
    area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
    assert area == pytest.approx(float(auroc(y, score, groups=groups)), abs=1e-5)
