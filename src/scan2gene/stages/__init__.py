"""What each stage does: files of the run directory in, files out, and a stamp."""

from scan2gene.stages.audit import audit_run
from scan2gene.stages.cohort import curate_cohort, index_scans, plan_study, split_patients
from scan2gene.stages.evaluate import evaluate_runs
from scan2gene.stages.explain import explain_runs
from scan2gene.stages.features import compute_features
from scan2gene.stages.predict import predict_runs
from scan2gene.stages.preprocess import preprocess_exams
from scan2gene.stages.report import write_report
from scan2gene.stages.train import train_runs

STAGES = {
    "index": index_scans,
    "curate": curate_cohort,
    "plan": plan_study,
    "split": split_patients,  # before the long work: what is wrong with a split is said at once
    "preprocess": preprocess_exams,
    "features": compute_features,
    "train": train_runs,
    "predict": predict_runs,
    "evaluate": evaluate_runs,
    "audit": audit_run,
    "explain": explain_runs,
    "report": write_report,
}
