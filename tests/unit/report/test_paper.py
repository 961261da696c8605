"""What a paper is given: true for its run, whole, silent about what was not done and about who the patients are."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
import yaml
from fake_run import EVIL, PATIENTS, write_run

from scan2gene.core.study import Study
from scan2gene.core.tables import EXTERNAL, read_csv
from scan2gene.evaluate.domain_shift import Shift
from scan2gene.evaluate.external import Transfer
from scan2gene.report import known as k
from scan2gene.report.beside import write_beside
from scan2gene.report.cards import as_markdown, data_card, model_card, shown
from scan2gene.report.characteristics import characteristics
from scan2gene.report.checklists import FILLED, OPEN, PARTLY, answers, counts
from scan2gene.report.claim import CLAIM
from scan2gene.report.inputs import Inputs, read_inputs
from scan2gene.report.methods import about, files, methods
from scan2gene.report.methods_models import MODELS
from scan2gene.report.page import make_report
from scan2gene.report.paper import CHECKLISTS, paper
from scan2gene.report.references import GUIDELINES, REFERENCES, bibtex, in_words
from scan2gene.report.results import scores
from scan2gene.report.step_words import WORDS
from scan2gene.report.tripod_ai import TRIPOD_AI
from scan2gene.stats.intervals import Estimate

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


def text_of(inputs: Inputs) -> str:
    return " ".join(s.text for said in methods(inputs).values() for s in said)


def changed(inputs: Inputs, **keys) -> Inputs:
    """The same run directory under another study file: dotted keys as a__b__0__c."""
    values = inputs.study.model_dump(mode="json")
    for key, value in keys.items():
        here = values
        *path, last = key.split("__")
        for part in path:
            here = here[int(part) if part.isdigit() else part]
        here[last] = value
    return replace(inputs, study=Study.model_validate(values))


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


def test_sites_kept_out_of_development_are_told_and_not_denied(base, tmp_path):
    study, out, stores = base
    copy = tmp_path / "run"
    shutil.copytree(out, copy)
    split = pd.read_csv(copy / "split.csv", dtype=str)
    split.loc[split["patient_id"].isin(PATIENTS[30:]), "part"] = EXTERNAL
    split[split["split"] == "cv"].to_csv(copy / "split.csv", index=False)
    drop = Estimate(0.177, -0.02, 0.37)
    found = Transfer("net", "cv", "idh", "the external site south", EXTERNAL, 2, Estimate(0.789, 0.7, 0.88),
                     Estimate(0.612, 0.5, 0.72), Estimate(0.612, 0.5, 0.72), drop, 0.06, (30, 10), (15, 4))  # fmt: skip
    audit = json.loads((copy / "audit.json").read_text())
    plain = [s.model_dump(mode="json") for s in study.splits[:1]]
    before = read_inputs(study.model_copy(update={"splits": study.splits[:1]}), copy, stores)
    inside = changed(before, splits=plain)
    outside = changed(before, splits=[plain[0] | {"external": ["south"]}])

    def told(inputs: Inputs) -> tuple[dict[str, str], str, str]:
        known = k.Known(inputs, methods(inputs), scores(inputs))
        values = {f"{c.name} {a.item.number}": a.value for c in CHECKLISTS for a in answers(c, known)}
        return values, text_of(inputs), as_markdown(model_card(known), "s", "")

    (copy / "audit.json").write_text(json.dumps(audit | {"transfer": [], "shift": []}))
    values, text, card = told(inside)
    assert "No site was left out or kept out" in values["claim 33"]
    assert "No site was kept apart" in values["claim 40"]
    assert "kept out" not in text + card
    assert "their figures were not computed" in told(outside)[0]["claim 33"]
    apart = Shift("cv", "grey", "", "told apart", "", "", Estimate(0.462, 0.3, 0.6), (30, 10), 0.7)
    moved = {"transfer": [found.row()], "shift": [apart.row()]}
    (copy / "audit.json").write_text(json.dumps(audit | moved))
    values, text, card = told(outside)
    for place in ("claim 33", "tripod_ai 12d", "tripod_ai 16", "tripod_ai 23b"):
        assert "AUROC 0.612 (0.500–0.720), 10 patients, 4 positive, inside 0.789" in values[place], place
    for place in ("tripod_ai 16", "tripod_ai 20c"):
        assert (
            "a rule that is to tell external patients from the others has an AUROC of 0.462 (P = 0.700)"
            in (values[place])
        )
    assert "10 patients of site south were kept out of development" in text
    assert "corrected by Holm's method over all runs and targets" in text
    assert "the external site south: AUROC 0.612" in card.replace("\\", "")
    assert not any("No site was" in value for value in values.values())


def test_what_was_done_against_sites_is_in_the_methods(base, inputs, tmp_path):
    assert not about(methods(inputs), "harmonisation", "adversary", "imbalance")
    combat = {"name": "combat", "options": {"keep": ["age"], "unknown": "estimate"}}
    done = changed(inputs, train__site_sampling=True, train__site_adversary={"weight": 0.5, "rise": 7, "hidden": 9},
                   runs__2__data={"harmonise": combat})  # fmt: skip
    text = text_of(done)
    for part in ("In age, sites were taken out of the columns by ComBat, fitted on the training rows of each fold; the "
                 "effect of age and the training labels was kept", "estimated from its own tested rows, without their",
                 "every site, and in it every class, came equally often", "a network with 9 hidden units",
                 "rose to 0.5 in 7 epochs"):  # fmt: skip
        assert part in text
    assert "could not estimate" not in text
    copy = tmp_path / "run"
    shutil.copytree(inputs.out, copy)
    for fold in "01":
        (copy / "experiments" / "age" / f"cv-r0-f{fold}").mkdir(parents=True)
        path = copy / "experiments" / "age" / f"cv-r0-f{fold}" / "harmonise.json"
        path.write_text(json.dumps({"notes": ["site east has one training row, so it counts as unknown"]}))
    noted = text_of(replace(done, out=copy))
    assert "in age: site east has one training row, so it counts as unknown (2 fits)." in noted
    known = k.Known(done, methods(done), scores(done))
    balance = next(a for a in answers(TRIPOD_AI, known) if a.item.number == "13")
    assert "Nothing was done" not in balance.value


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


# Methods


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("train__learning_rate", 0.0123, "learning rate 0.0123"),
        ("train__optimizer", "adamw", "with AdamW"),
        ("train__patience", 7, "after 7 epochs without"),
        ("train__class_weights", "balanced", "both classes of a target weighed the same"),
        ("train__mixup", 0.3, "mixup 0.3"),
        ("train__schedule", {"name": "cosine"}, "schedule cosine"),
        ("data__batch_size", 3, "in batches of 3 exams"),
        ("data__augment", [{"name": "flip", "options": {"axes": ["i"]}}], "augmented by flip (axes i)"),
        ("evaluate__bootstrap", 777, "over 777 draws"),
        ("preprocess__1__options__spacing_mm", [2, 2, 4], "resampled to 2 × 2 × 4 mm"),
        ("preprocess__0__options", {"nonzero": True}, "over its voxels that are not 0"),
        ("splits__0__folds", 9, "was 9-fold cross-validation"),
        ("splits__0__validation_fraction", 0.35, "35 % of the rest"),
        ("runs__0__model__name", "resnet10", "a 3D residual network of 10 layers"),
        ("runs__2__model__options", {"columns": ["height"]}, "a ridge logistic regression on height"),
        ("cohort__exams", "first", "Of a patient's exams the first was taken"),
        ("targets__idh__column", "IDH1 status", "the column “IDH1 status”"),
        ("predict__flips", ["j"], "copies mirrored along j"),
        ("seed", 41, "was 41"),
    ],
)
def test_another_study_another_sentence(inputs, key, value, says):
    before, after = text_of(inputs), text_of(changed(inputs, **{key: value}))
    assert says in after
    assert says not in before


def test_nothing_is_said_about_what_did_not_run(base, tmp_path):
    study, out, stores = base
    copy = tmp_path / "run"
    shutil.copytree(out, copy)
    told = methods(read_inputs(study, copy, stores))
    assert about(told, "leakage") and about(told, "baselines") and about(told, "chance")
    for topic in ("calibration", "decision", "conformal", "shuffles", "maps", "power", "robustness", "search", "start",
                  "ensemble", "imbalance", "deidentification", "treatment"):  # fmt: skip
        assert not about(told, topic), topic
    (copy / "audit.json").unlink()
    told = methods(read_inputs(study, copy, stores))
    assert not about(told, "leakage", "baselines", "chance", "subgroups")
    alone = study.model_copy(update={"runs": [r for r in study.runs if r.name == "age"]})
    told = methods(read_inputs(alone, copy, {}))
    assert not about(told, "training", "selection", "epochs", "preprocessing", "augmentation", "roles", "machine")
    assert "torch" not in " ".join(s.text for said in told.values() for s in said)
    assert {"model", "split", "metrics", "intervals"} <= {s.topic for said in told.values() for s in said}


def test_every_table_of_a_stage_brings_its_sentence(base, tmp_path):
    """The same run with a calibration, maps and a power table that hold something."""
    study, out, stores = base
    copy = tmp_path / "run"
    shutil.copytree(out, copy)
    place = {"run_id": "net", "split": "cv", "target": "idh"}
    rows = [place | {"method": m, "figure": "slope", "value": 1} for m in ("as given", "platt")]
    pd.DataFrame(rows).to_csv(copy / "calibration.csv", index=False)
    pd.DataFrame([place | {"method": "occlusion"}]).assign(map="x").to_csv(copy / "maps.csv", index=False)
    (copy / "explain").mkdir()
    (copy / "maps.csv").rename(copy / "explain" / "maps.csv")
    pd.DataFrame([{"split": "cv", "target": "idh", "unit": "patient", "positive": 25, "negative": 15,
                   "detectable_auroc": 0.7312}]).to_csv(copy / "power.csv", index=False)  # fmt: skip
    told = methods(read_inputs(study, copy, stores))
    assert [s.text for s in about(told, "maps")] == ["Maps of where the networks look were made by Occlusion."]
    mended = about(told, "recalibration")[0]
    assert "by Platt scaling, fitted" in mended.text and mended.cites == ("Platt1999",)
    assert "a true AUROC of 0.731 for idh (25 positive and 15 negative patients)." in about(told, "power")[0].text


def test_every_number_is_in_the_run(inputs):
    """Numbers of the Methods, versions aside, stand in the study file or are counted here anew."""
    told = methods(inputs)
    told.pop("Software")
    text = " ".join(s.text for said in told.values() for s in said)
    text = re.sub(r"\b[23]D\b|F1\b", "", text.replace(EVIL, ""))  # names
    found = {n.rstrip(".").replace(",", "") for n in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}
    out = inputs.out
    allowed = set(re.findall(r"\d+(?:\.\d+)?", yaml.safe_dump(inputs.study.model_dump(mode="json"))))
    allowed |= {f"{100 * float(n):.3g}" for n in allowed}
    flow = json.loads((out / "flow.json").read_text())
    allowed |= {str(s["kept"]) for s in flow} | {str(sum(s["left_out"].values())) for s in flow}
    cohort, labels, split = (pd.read_csv(out / f"{n}.csv", dtype=str) for n in ("cohort", "labels", "split"))
    allowed |= {str(len(cohort)), str(cohort["patient_id"].nunique()), str(cohort["site"].nunique())}
    for _, rows in labels.groupby("target"):
        values = rows["value"].astype(float)
        allowed |= {str(n) for n in (sum(values == 1), sum(values == 0), len(cohort) - len(rows))}
    allowed |= {str(n) for n in split.groupby(["split", "repeat", "fold", "part"]).size()}
    manifest = pd.read_csv(out / "store" / "abcd1234" / "manifest.csv")
    allowed |= {str(len(manifest)), str(sum(manifest["status"] == "ok")), str(sum(manifest["status"] != "ok"))}
    histories = list(out.glob("experiments/net/*/history.csv"))
    allowed |= {str(len(histories)), *(str(len(pd.read_csv(p))) for p in out.glob("experiments/*/*/history.csv"))}
    audit = json.loads((out / "audit.json").read_text())
    allowed |= {str(sum(c["status"] != "unknown" for c in audit["leakage"]))}
    allowed |= {"95", "90", "9999", "1", "0"}  # levels, permutations, a mean and a deviation
    assert found - allowed == set()
    assert len(found) > 20


def test_lists_name_every_step_and_network():
    from scan2gene.learners.table_models import MODELS as TABLE_MODELS
    from scan2gene.models import MODELS as NETWORKS
    from scan2gene.preprocess import STEPS

    assert set(WORDS) == set(STEPS)
    assert set(MODELS) == {*NETWORKS, *TABLE_MODELS}
    assert {key for _, cites in [*WORDS.values(), *MODELS.values()] for key in cites} <= set(REFERENCES)


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


def test_every_text_says_that_it_leaks(inputs):
    told = methods(inputs)
    stamped = files(told, "fake", "LEAKY: slices")
    assert all("LEAKY: slices" in stamped[name] for name in ("methods.md", "methods.tex"))


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


def test_a_word_that_one_patient_has_is_not_told(inputs):
    sex, maker = ["Jane", *["F"] * 20, *["M"] * 19], ["Only One", *["Maker"] * 39]
    odd = replace(inputs, series=inputs.series.assign(PatientSex=sex, Manufacturer=maker))
    told = {(name, value) for name, value, _ in characteristics(odd)["rows"]}
    assert told >= {("Sex in the header", "F"), ("Manufacturer", "Maker"), ("Manufacturer", "1 other")}
    assert "systems of Maker and 1 other" in text_of(odd)
    assert not any("Jane" in str(words) or "Only One" in str(words) for words in (told, text_of(odd)))


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
