"""CLAIM 2024: the 44 items of the checklist for artificial intelligence in medical imaging.

Numbers as in Tejani et al. 2024, Radiology: Artificial Intelligence 6, e240300, doi 10.1148/ryai.240300; the
texts are ours.
"""

from __future__ import annotations

from scan2gene.report import known as k
from scan2gene.report import known_sites as sites
from scan2gene.report.checklists import Checklist, Item

_TITLE, _INTRO, _DESIGN, _DATA = "Title and abstract", "Introduction", "Methods: design", "Methods: data"
_STANDARD, _PARTS, _TESTING = "Methods: reference standard", "Methods: parts", "Methods: testing data"
_MODEL, _TRAINING, _EVALUATION = "Methods: model", "Methods: training", "Methods: evaluation"
_RESULTS, _MODEL_RESULTS, _DISCUSSION, _OTHER = "Results: data", "Results: model", "Discussion", "Other information"

CLAIM = Checklist(
    "claim",
    "CLAIM 2024",
    "Tejani2024",
    (
        Item("1", _TITLE, "Say in the title that this is about AI, and of which kind"),
        Item("2", _TITLE, "Abstract with design, methods, results and conclusions"),
        Item("3", _INTRO, "Scientific and clinical background; intended use and role of the AI"),
        Item("4", _INTRO, "Aims and hypotheses", k.question, "why this is asked, and the hypotheses"),
        Item("5", _DESIGN, "Prospective or retrospective study"),
        Item("6", _DESIGN, "Goal of the study", k.goal, "what the study was for, such as feasibility or comparison"),
        Item("7", _DATA, "Sources of the data", k.together(k.sentences("sites", "scanners", "years"), k.licences),
             "where the data come from and how others get at them"),
        Item("8", _DATA, "Who is included and who is not", k.sentences("cohort", "exclusions", "eligibility",
             "treatment"),
             "clinical criteria, and how patients were found"),
        Item("9", _DATA, "Preparation of the data", k.sentences("preprocessing", "prepared", "one exam",
             "harmonisation"),
             otherwise="No image was prepared: no network took part."),
        Item("10", _DATA, "Selection of parts of the data", k.subsets,
             otherwise="No image was used: no network took part."),
        Item("11", _DATA, "De-identification", k.sentences("deidentification"),
             "how scans and labels were de-identified before they came here"),
        Item("12", _DATA, "What was done about missing data", k.sentences("missing"),
             otherwise="No label, series or clinical column that was used was missing."),
        Item("13", _DATA, "How the images were acquired", k.together(k.sentences("scanners", "years"), k.spacing),
             "sequences with their parameters, contrast agent, quality control"),
        Item("14", _STANDARD, "Definition of the reference standard", k.sentences("labels"),
             "how the labels were measured, and by which criteria"),
        Item("15", _STANDARD, "Why this reference standard, and its limits"),
        Item("16", _STANDARD, "Who made the reference standard and masks, with what experience"),
        Item("17", _STANDARD, "How the reference standard of the test patients was made"),
        Item("18", _STANDARD, "Agreement between and within readers, and how differences were settled"),
        Item("19", _PARTS, "How patients came into their parts, and how many", k.sentences("split", "part sizes",
             "external", "seed")),
        Item("20", _PARTS, "Level at which the parts are disjoint", k.together(k.disjoint, k.sentences("leakage"))),
        Item("21", _TESTING, "Size of the test sample and how it was chosen", k.sentences("power"),
             "whether a number of patients was aimed at, and why"),
        Item("22", _MODEL, "The model in detail, with inputs and outputs",
             k.together(k.sentences("model", "roles"), k.always("Its output is one logit for each target or side.",
             "predictions.parquet")), "layers and their sizes, where no reference gives them"),
        Item("23", _MODEL, "Software with versions", k.sentences("software")),
        Item("24", _MODEL, "How parameters were initialised", k.sentences("start"),
             otherwise="No network with layers was trained."),
        Item("25", _TRAINING, "Training: loss, settings, augmentation, search",
             k.sentences("training", "epochs", "augmentation", "search", "imbalance", "adversary", "machine"),
             otherwise="No network was trained."),
        Item("26", _TRAINING, "How the final model was chosen", k.sentences("selection", "search"),
             otherwise="No network was trained."),
        Item("27", _TRAINING, "Ensembles", k.sentences("ensemble"), otherwise="No ensemble was formed."),
        Item("28", _EVALUATION, "Measures of performance", k.sentences("metrics", "thresholds", "calibration",
             "decision")),
        Item("29", _EVALUATION, "Uncertainty and significance", k.sentences("intervals", "comparison", "chance",
             "fits")),
        Item("30", _EVALUATION, "Robustness and sensitivity analyses",
             k.sentences("robustness", "baselines", "shuffles", "subgroups"), otherwise="No such analysis was made."),
        Item("31", _EVALUATION, "Explanations, and how they were checked", k.sentences("maps"),
             otherwise="No maps of where the networks look were made."),
        Item("32", _EVALUATION, "Evaluation on internal data", k.together(sites.internal, k.sentences("split")),
             otherwise="Only patients of sites that training did not see were tested."),
        Item("33", _EVALUATION, "Testing on external data",
             k.together(k.sentences("external", "transfer"), sites.by_site, sites.external),
             "whether a site left out or kept out counts as external here",
             "No site was left out or kept out of development in this run."),
        Item("34", _EVALUATION, "Registration of a clinical trial"),
        Item("35", _RESULTS, "Numbers included and excluded, with a flow diagram",
             k.together(k.sentences("cohort", "exclusions"), k.counts,
                        k.always("The diagram is flow.svg.", "report/figures/flow.svg"))),
        Item("36", _RESULTS, "Demographic and clinical characteristics, also by part", k.characteristics,
             "characteristics that the label table does not hold, and those of each part"),
        Item("37", _MODEL_RESULTS, "Performance with uncertainty", k.performance),
        Item("38", _MODEL_RESULTS, "Diagnostic performance and its precision", k.diagnostic),
        Item("39", _MODEL_RESULTS, "Analysis of failures", k.failures, "what the wrong decisions have in common"),
        Item("40", _DISCUSSION, "Limitations", k.limits,
             "limits of cohort, labels and methods that a run does not see"),
        Item("41", _DISCUSSION, "What follows for practice, intended use and role",
             k.always(k.NOT_CLINICAL, "the report's first page"), "what the results mean for the field"),
        Item("42", _OTHER, "Study protocol or further technical details", k.protocol,
             "where the protocol can be read"),
        Item("43", _OTHER, "Availability of software, model and data",
             k.together(k.sentences("software"), k.availability, k.licences, k.weight_licences),
             "where code, weights and data can be had"),
        Item("44", _OTHER, "Funding, and the funder's role"),
    ),
)  # fmt: skip
