"""TRIPOD+AI: the 27 items, 52 with their parts, for reporting clinical prediction models.

Numbers as in Collins et al. 2024, BMJ 385, e078378, doi 10.1136/bmj-2023-078378; the texts are ours.
"""

from __future__ import annotations

from scan2gene.report import known as k
from scan2gene.report import known_sites as sites
from scan2gene.report.checklists import Checklist, Item

_TITLE, _INTRO, _METHODS, _OPEN = "Title and abstract", "Introduction", "Methods", "Open science"
_PATIENTS, _RESULTS, _DISCUSSION = "Patients and public", "Results", "Discussion"
_OUTPUT = "Its output is a probability for each target, and a class at the threshold."

TRIPOD_AI = Checklist(
    "tripod_ai",
    "TRIPOD+AI",
    "Collins2024",
    (
        Item("1", _TITLE, "Title: development or evaluation of a prediction model, population and outcome"),
        Item("2", _TITLE, "Abstract, by the checklist for abstracts"),
        Item("3a", _INTRO, "Setting, whether diagnostic or prognostic, why the model, what models exist"),
        Item("3b", _INTRO, "For whom, where in care and by whom the model is meant to be used"),
        Item("3c", _INTRO, "Known inequalities between groups of people"),
        Item("4", _INTRO, "Aims; development, evaluation or both", k.together(k.question, k.goal), "the aims in full"),
        Item("5a", _METHODS, "Sources of the data, why these, and how representative",
             k.together(k.sentences("sites", "scanners"), k.licences), "origin, reason and representativeness"),
        Item("5b", _METHODS, "Dates of the data", k.sentences("years"), "begin and end of inclusion"),
        Item("6a", _METHODS, "Setting, number and place of centres", k.sentences("sites"),
             "kind and place of the centres"),
        Item("6b", _METHODS, "Who was eligible", k.sentences("cohort", "exclusions", "eligibility"),
             "clinical criteria"),
        Item("6c", _METHODS, "Treatments, and how they were handled", k.sentences("treatment"),
             "treatments that patients had received"),
        Item("7", _METHODS, "Preparation and quality checks of the data, and whether alike in all groups",
             k.sentences("preprocessing", "prepared", "one exam"), "whether scans of all groups were of like quality"),
        Item("8a", _METHODS, "Outcome: definition, when and how it was assessed, and why this one",
             k.sentences("labels"),
             "how and when it was measured, and why this outcome"),
        Item("8b", _METHODS, "Who assessed the outcome, where that takes judgement"),
        Item("8c", _METHODS, "Blinding of those who assessed the outcome"),
        Item("9a", _METHODS, "How predictors were chosen at first", k.sentences("roles"),
             "why these series and columns"),
        Item("9b", _METHODS, "All predictors, how and when they were measured", k.together(
            k.sentences("roles", "scanners"), k.spacing), "how the scans were acquired, and when before the outcome"),
        Item("9c", _METHODS, "Who assessed predictors, where that takes judgement"),
        Item("10", _METHODS, "Size of the study, and whether it was enough", k.sentences("power"),
             "whether a number of patients was aimed at, and why"),
        Item("11", _METHODS, "What was done about missing data", k.sentences("missing"),
             otherwise="No label, series or clinical column that was used was missing."),
        Item("12a", _METHODS, "How data were used and divided", k.together(k.sentences("split", "part sizes",
             "external", "seed"), k.disjoint)),
        Item("12b", _METHODS, "How predictors entered the model", k.together(k.sentences("preprocessing",
             "roles", "harmonisation"), k.subsets),
             otherwise="Clinical columns were standardised by the training part."),
        Item("12c", _METHODS, "Kind of model, how it was built and tuned, internal validation",
             k.sentences("model", "start", "training", "selection", "epochs", "augmentation", "search",
             "adversary"), "why this kind of model"),
        Item("12d", _METHODS, "Differences between clusters such as hospitals", k.together(
            sites.clusters, sites.by_site, sites.external), otherwise="They were not quantified."),
        Item("12e", _METHODS, "Measures and plots of performance, and how models were compared",
             k.sentences("metrics", "intervals", "comparison", "chance", "calibration", "decision", "abstention",
             "conformal")),
        Item("12f", _METHODS, "Updating of the model",
             k.sentences("recalibration"), otherwise="No model was updated."),
        Item("12g", _METHODS, "How predictions were computed", k.together(k.sentences("aggregation", "ensemble",
             "software"), k.apply)),
        Item("13", _METHODS, "Methods against class imbalance", k.sentences("imbalance"),
             otherwise="Nothing was done: no class was weighed or drawn more often."),
        Item("14", _METHODS, "What was done for fairness", k.sentences("subgroups"),
             "why these groups, and what else was done for fairness"),
        Item("15", _METHODS, "Output of the model, thresholds and how they were found", k.together(
            k.always(_OUTPUT, "predictions.parquet"), k.sentences("thresholds"))),
        Item("16", _METHODS, "Differences between the data of development and of evaluation",
             k.together(sites.internal, sites.by_site, sites.external, sites.shifted),
             "differences in setting, criteria, outcome and predictors between sites"),
        Item("17", _METHODS, "Ethics committee and consent"),
        Item("18a", _OPEN, "Funding, and the funders' role"),
        Item("18b", _OPEN, "Conflicts of interest"),
        Item("18c", _OPEN, "Protocol", k.protocol, "where the protocol can be read, or that there is none"),
        Item("18d", _OPEN, "Registration of the study"),
        Item("18e", _OPEN, "Availability of the data", k.licences, "where the data can be had"),
        Item("18f", _OPEN, "Availability of the code of the analysis", k.together(k.sentences("software"), k.protocol),
             "where code and study file can be had"),
        Item("19", _PATIENTS, "Involvement of patients and the public"),
        Item("20a", _RESULTS, "Flow of participants, with and without the outcome", k.together(
            k.sentences("cohort", "exclusions"), k.counts, k.always("The diagram is flow.svg.",
            "report/figures/flow.svg"))),
        Item("20b", _RESULTS, "Characteristics of participants, outcome events and missing data", k.together(
            k.characteristics, k.classes), "characteristics that the label table does not hold"),
        Item("20c", _RESULTS, "Predictors of development and evaluation compared", k.together(k.sentences("part sizes"),
             sites.shifted), "distributions of age, sex and the like by part"),
        Item("21", _RESULTS, "Participants and events in each analysis", k.together(k.sentences("part sizes"),
             k.counts)),
        Item("22", _RESULTS, "The full model, for predictions in new people", k.together(k.availability, k.apply,
             k.weight_licences),
             "where the weights can be had, and on what terms"),
        Item("23a", _RESULTS, "Performance with intervals, also of groups", k.together(k.performance, k.subgroups)),
        Item("23b", _RESULTS, "Differences of performance between clusters",
             k.together(sites.clusters, sites.by_site, sites.external),
             otherwise="No site was left out or kept out, and no group of one was large enough."),
        Item("24", _RESULTS, "Results of updating", k.together(k.sentences("recalibration"), k.recalibrated),
             otherwise="No model was updated."),
        Item("25", _DISCUSSION, "Interpretation of the main results", k.verdict,
             "what they mean beside earlier studies, and for fairness"),
        Item("26", _DISCUSSION, "Limitations", k.limits,
             "limits of cohort, labels and methods that a run does not see"),
        Item("27a", _DISCUSSION, "What to do about poor or missing input", k.apply, "what users should do then"),
        Item("27b", _DISCUSSION, "What users must do and know", k.apply, "the expertise that is needed"),
        Item("27c", _DISCUSSION, "Next steps of research"),
    ),
)  # fmt: skip
