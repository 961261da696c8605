"""The text of Methods: true for its run, with its numbers, and silent about what was not done."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from fake_run import EVIL, PATIENTS, write_run

from scan2gene.core.study import Study
from scan2gene.core.tables import EXTERNAL
from scan2gene.evaluate.domain_shift import Shift
from scan2gene.evaluate.external import Transfer
from scan2gene.report import known as k
from scan2gene.report.cards import as_markdown, model_card
from scan2gene.report.characteristics import characteristics
from scan2gene.report.checklists import answers
from scan2gene.report.inputs import Inputs, read_inputs
from scan2gene.report.methods import about, files, methods
from scan2gene.report.methods_models import MODELS
from scan2gene.report.paper import CHECKLISTS
from scan2gene.report.references import REFERENCES
from scan2gene.report.results import scores
from scan2gene.report.step_words import WORDS
from scan2gene.report.tripod_ai import TRIPOD_AI
from scan2gene.stats.intervals import Estimate


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("methods"))


@pytest.fixture(scope="module")
def inputs(base) -> Inputs:
    return read_inputs(*base)


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
    from scan2gene.models import MODELS as NETWORKS
    from scan2gene.preprocess import STEPS

    assert set(WORDS) == set(STEPS)
    assert set(MODELS) == set(NETWORKS)
    assert {key for _, cites in [*WORDS.values(), *MODELS.values()] for key in cites} <= set(REFERENCES)


def test_every_text_says_that_it_leaks(inputs):
    told = methods(inputs)
    stamped = files(told, "fake", "LEAKY: slices")
    assert all("LEAKY: slices" in stamped[name] for name in ("methods.md", "methods.tex"))


def test_a_word_that_one_patient_has_is_not_told(inputs):
    sex, maker = ["Jane", *["F"] * 20, *["M"] * 19], ["Only One", *["Maker"] * 39]
    odd = replace(inputs, series=inputs.series.assign(PatientSex=sex, Manufacturer=maker))
    told = {(name, value) for name, value, _ in characteristics(odd)["rows"]}
    assert told >= {("Sex in the header", "F"), ("Manufacturer", "Maker"), ("Manufacturer", "1 other")}
    assert "systems of Maker and 1 other" in text_of(odd)
    assert not any("Jane" in str(words) or "Only One" in str(words) for words in (told, text_of(odd)))
