"""What a paper is given beside its text: checklists, files, cards, flow and tables, which name nobody."""

from __future__ import annotations

import re
from itertools import pairwise

import pandas as pd
import pytest
from fake_run import EVIL, PATIENTS, write_run

from scan2gene.core.tables import read_csv
from scan2gene.report import known as k
from scan2gene.report.beside import write_beside
from scan2gene.report.cards import as_markdown, data_card, model_card, shown
from scan2gene.report.checklists import FILLED, OPEN, PARTLY, answers, counts
from scan2gene.report.claim import CLAIM
from scan2gene.report.inputs import Inputs, read_inputs
from scan2gene.report.methods import about, methods
from scan2gene.report.page import make_report
from scan2gene.report.paper import CHECKLISTS, paper
from scan2gene.report.references import GUIDELINES, REFERENCES, bibtex, in_words
from scan2gene.report.results import scores
from scan2gene.report.tripod_ai import TRIPOD_AI

TRIPOD_PARTS = {3: "abc", 5: "ab", 6: "abc", 8: "abc", 9: "abc", 12: "abcdefg", 18: "abcdef", 20: "abc", 23: "ab",
                27: "abc"}  # fmt: skip
TRIPOD_NUMBERS = [f"{n}{part}" for n in range(1, 28) for part in TRIPOD_PARTS.get(n, "-")]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("paper"))


@pytest.fixture(scope="module")
def inputs(base) -> Inputs:
    return read_inputs(*base)


@pytest.fixture(scope="module")
def known(inputs) -> k.Known:
    return k.Known(inputs, methods(inputs), scores(inputs))


@pytest.fixture(scope="module")
def written(base):
    study, out, stores = base
    report = make_report(study, out, stores)
    return report, write_beside(out, report), out


# checklists


def test_items_are_numbered_as_in_the_papers():
    assert [i.number for i in CLAIM.items] == [str(n) for n in range(1, 45)]
    assert [i.number for i in TRIPOD_AI.items] == [n.removesuffix("-") for n in TRIPOD_NUMBERS]
    assert len(TRIPOD_NUMBERS) == 52
    assert len({i.number.rstrip("abcdefg") for i in TRIPOD_AI.items}) == 27


@pytest.mark.parametrize("checklist", CHECKLISTS, ids=lambda c: c.name)
def test_every_item_is_answered_or_left_by_name(known, checklist):
    found = answers(checklist, known)
    for a in found:
        assert a.item.asks
        assert bool(a.value) == bool(a.source) == (a.status != OPEN), a.item.number
        assert bool(a.left) == (a.status != FILLED), a.item.number
    n = counts(found)
    assert n[FILLED] + n[PARTLY] + n[OPEN] == n["all"] == len(checklist.items)
    assert min(n[FILLED], n[PARTLY], n[OPEN]) > 0


def test_what_only_authors_know_is_never_filled(known):
    by_number = {c.name: {a.item.number: a.status for a in answers(c, known)} for c in CHECKLISTS}
    assert {by_number["claim"][n] for n in ("1", "2", "3", "5", "15", "16", "17", "18", "34", "44")} == {OPEN}
    assert {by_number["tripod_ai"][n] for n in ("1", "2", "3a", "3b", "3c", "8b", "8c", "17", "18a", "18b", "18d", "19",
                                               "27c")} == {OPEN}  # fmt: skip


@pytest.mark.parametrize("checklist", CHECKLISTS, ids=lambda c: c.name)
def test_every_source_exists(known, written, checklist):
    """Keys of the study file and files of the run directory, as far as this small run has that stage."""
    values, out = known.inputs.study.model_dump(mode="json"), written[2]
    absent = {"variants.parquet", "apply/familiar.json", "experiments/*/*/best.pt", "experiments/*/*/network.json",
              "the report's first page", "by design of the steps", "versions where the report was written",
              "study.yaml", "files of the run"}  # fmt: skip
    seen = 0
    for a in answers(checklist, known):
        for source in filter(None, a.source.split("; ")):
            file, _, keys = source.partition(", ")
            if source in absent or file in absent - {"study.yaml"}:
                continue
            seen += 1
            if file == "study.yaml":
                for key in keys.split(", "):
                    here = values
                    for part in key.split("."):
                        assert here is None or part in here or key.startswith("runs."), (a.item.number, source)
                        here = here.get(part) if isinstance(here, dict) else None
            else:
                assert list(out.glob(file)), (a.item.number, source)
    assert seen > 30


def test_the_page_counts_what_the_files_hold(written):
    report, _, out = written
    for name, title in (("claim", "CLAIM 2024"), ("tripod_ai", "TRIPOD+AI")):
        table = pd.read_csv(out / "report" / "checklists" / f"{name}.csv", dtype=str)
        n = table["status"].value_counts()
        assert f"{title}: {n['filled']} of {len(table)} items filled from the run" in report.html
        text = (out / "report" / "checklists" / f"{name}.md").read_text()
        assert text.count("- [x] ") == n["filled"]
        assert text.count("**To be written by the authors") == n["open"] + n["partly filled"]


# files


def test_markdown_latex_and_bibtex_agree(written):
    folder = written[2] / "report" / "paper"
    text, tex, bib = ((folder / n).read_text() for n in ("methods.md", "methods.tex", "references.bib"))
    there = re.findall(r"^@(?:article|inproceedings|book)\{(\w+),$", bib, re.M)
    assert len(there) == len(set(there))
    cited = set(re.findall(r"(?<!\\)@(\w+)", text))
    assert cited == {key for group in re.findall(r"\\cite\{([^}]*)\}", tex) for key in group.split(",")}
    assert cited | set(GUIDELINES) == set(there)
    assert cited & {"Efron1987", "Kingma2015", "Unser1999"} == {"Efron1987", "Kingma2015", "Unser1999"}


def test_every_reference_is_whole():
    for key, entry in REFERENCES.items():
        assert {"author", "title", "year"} <= set(entry), key
        assert key.rstrip("0123456789") and entry["year"] == key[-4:], key
        assert entry.get("journal") or entry.get("booktitle") or entry.get("publisher"), key
        assert not set("{}\\") & set(in_words(key)), key
        assert entry["author"].count("{") == entry["author"].count("}")
    assert bibtex(["Holm1979", "Holm1979"]).count("@article") == 1


def test_latex_is_balanced_and_escaped(written):
    """As a compiler would stumble: braces, environments, columns of a row, bare special characters."""
    seen = 0
    for path in (written[2] / "report").glob("*/*.tex"):
        text = re.sub(r"(?m)(?<!\\)%.*$", "", path.read_text())
        bare = re.sub(r"\\.", "", text)
        assert bare.count("{") == bare.count("}"), path.name
        assert sorted(re.findall(r"\\begin\{(\w+)\}", text)) == sorted(re.findall(r"\\end\{(\w+)\}", text))
        plain = re.sub(r"~\\cite\{[^}]*\}|\\label\{[^}]*\}|\\[%_#]|\$\^[23]\$", "", text)
        assert not re.search(r"[#%_^~]", plain), path.name
        columns = re.search(r"\\begin\{tabular\}\{([lr]*)\}", text)
        if columns:
            rows = text[text.index(r"\toprule") : text.index(r"\bottomrule")].split(r"\\")[:-1]
            assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns[1])}, path.name
            seen += 1
    assert seen > 10


def test_no_file_names_anybody(written):
    for path in (p for p in written[1] if p.suffix in (".md", ".bib", ".tex", ".csv") or "flow" in p.name):
        text = path.read_text()
        for name in (*PATIENTS, "1.2.840.99999", "Jane Roe", str(written[2].parent)):
            assert name not in text, (path.name, name)
        if path.suffix == ".md":
            assert EVIL not in text  # Markdown would take it for a tag


# cards


def test_cards_say_what_they_are_for_and_how_good(known, inputs):
    text = as_markdown(shown(model_card(known)), "fake", "")
    metrics = read_csv(inputs.out / "metrics.csv")
    for row in metrics[(metrics["metric"] == "auroc") & metrics["low"].notna()].itertuples():
        assert f"{row.value:.3f} ({row.low:.3f}–{row.high:.3f})" in text
    assert "not for clinical use" in text and "Not for diagnosis" in text
    assert "cannot be estimated, because" in text  # the target with one class
    for heading in ("Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
                    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations"):  # fmt: skip
        assert f"## {heading}\n" in text, heading
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {len(re.findall(r"(?<!\\)\|", r)) for r in rows if "positive" in r} == {9}
    data = as_markdown(shown(data_card(known)), "fake", "")
    assert "40 exams of 40 patients" in data and "CC BY" in data
    assert not re.search(r"\b(nan|NaN|None)\b", re.sub("NaN & Sons", "", text + data))


# flow


def test_the_flow_adds_up(inputs, written):
    table = pd.read_csv(written[2] / "report" / "tables" / "analysed.csv")
    assert len(table) == 3 * 2 * 2
    assert (table["tested"] == table["label_unknown"] + table["not_predicted"] + table["analysed"]).all()
    assert (table["analysed"] == table["positive"] + table["negative"]).all()
    rows = inputs.predictions[inputs.predictions["part"] == "test"]
    for row in table.itertuples():
        own = rows[(rows["run_id"] == row.run) & (rows["split"] == row.split) & (rows["target"] == row.target)]
        people = own.groupby("patient_id").agg(y=("y_true", "max"), p=("prob", "mean"))
        scored = people.dropna()
        assert (row.tested, row.label_unknown) == (len(people), int(people["y"].isna().sum()))
        assert row.not_predicted == int((people["y"].notna() & people["p"].isna()).sum())
        assert (row.analysed, row.positive) == (len(scored), int(scored["y"].sum()))
    sizes = inputs.split.groupby(["split", "repeat", "fold"]).size()
    assert (sizes == inputs.cohort["patient_id"].nunique()).all()
    svg = (written[2] / "report" / "figures" / "flow.svg").read_text()
    assert "not predicted by broken" in svg and "Training: " in svg and "Analysed" in svg
    assert "rare: 37 × label unknown" in svg
    for before, after in pairwise(inputs.flow):
        if before["unit"] == after["unit"]:
            assert before["kept"] == after["kept"] + sum(after["left_out"].values())


def test_characteristics_by_class(inputs, written):
    table = pd.read_csv(written[2] / "report" / "tables" / "characteristics.csv", dtype=str)
    found = table.set_index(["characteristic", "value", "group"])
    cohort = inputs.cohort.drop_duplicates("patient_id").set_index("patient_id")
    labels = inputs.labels[inputs.labels["target"] == "idh"].set_index("patient_id")["value"]
    for name, ids in (("all", cohort.index), ("idh positive", labels.index[labels == 1]),
                      ("idh negative", labels.index[labels == 0])):  # fmt: skip
        north = int((cohort.loc[ids, "site"] == "north").sum())
        row = found.loc[("Site", "north", name)]
        assert (row["n"], row["known"]) == (str(north), str(len(ids)))
        assert row["text"] == f"{north} ({100 * north / len(ids):.0f} %)"
    age = table[(table["characteristic"] == "age") & (table["group"] == "all")].iloc[0]
    assert (age["n"], age["text"]) == ("40", "50 (50–50)")


# the page


def test_every_table_and_figure_of_the_page_lies_beside_it(written):
    """By what a table is called for readers who do not see it, and by the title of a figure."""
    report, _, out = written
    files_of = {
        "AUROC, split": "auroc-", "Leakage checks": "leakage-checks", "Shortcuts for": "shortcuts-", "Groups for":
        "groups-", "Models for": "models-", "Comparisons for": "comparisons", "Metrics of": "metrics-",
        "AUROC by fold": "auroc-by-fold", "Agreement of neighbours": "embedding-neighbours",
        "Classes by part": "classes-",
        "At other sites": "transfer", "How outside patients": "shift",
        "Classes by site": "sites", "What the test patients can show": "power", "Exclusions": "exclusions",
        "Characteristics of": "characteristics",
        "Image orientations": "orientations", "Studies found": "studies", "Training": "training",
        "Best epochs": "best-epochs", "Failed volumes": "failed-volumes", "Failed predictions": "failed-exams",
        "Maps held against": "map-scores", "Randomisation check": "map-randomisation", "What the search": "search",
        "What validation promised": "optimism", "Versions, machine": "costs", "CLAIM 2024": "../checklists/claim",
        "TRIPOD+AI": "../checklists/tripod_ai", "Model card": "../cards/model_card",
    }  # fmt: skip
    beside = {str(p.relative_to(out / "report")) for p in (out / "report").glob("*/*")}
    beside = {n.removeprefix("tables/") if n.startswith("tables/") else f"../{n}" for n in beside}
    labels = re.findall(r'role="region" aria-label="([^"]+)"><table', report.html)
    assert len(labels) > 15
    for label in labels:
        name = next((f for start, f in files_of.items() if label.startswith(start)), None)
        assert name, label
        if name not in ("costs",):  # without timed stages there are none
            assert any(n.startswith(name) for n in beside), label
    titles = {re.search("<title>(.*?)</title>", p.read_text())[1] for p in (out / "report" / "figures").glob("*.svg")}
    drawn = re.findall("<svg [^>]*><title>(.*?)</title>", report.html)
    assert drawn and set(drawn) <= titles
    pictures = set(re.findall(r'src="(data:image/[^"]+)"', report.html))
    held = "".join(p.read_text() for p in (out / "report" / "figures").glob("*.svg"))
    assert pictures and all(p in held for p in pictures)
    for path in (out / "report" / "tables").glob("*.csv"):
        assert path.with_suffix(".tex").exists()


def test_the_page_has_the_methods_as_the_file_has(inputs, written):
    html = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", written[0].html))
    for sentence in about(methods(inputs), "cohort", "split", "selection", "intervals"):
        assert sentence.text.removesuffix(".")[:60] in html
    made = paper(inputs, scores(inputs))
    assert {"checklists/claim.md", "checklists/tripod_ai.md", "paper/methods.md", "paper/references.bib",
            "cards/model_card.md", "cards/data_card.md"} <= set(made.texts)  # fmt: skip
