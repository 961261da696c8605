"""The report and the files beside it."""

from __future__ import annotations

from scan2gene.core.files import file_hash, write_text
from scan2gene.core.text import file_size
from scan2gene.privacy.pseudonyms import shown_study
from scan2gene.stages.job import Job, run_stores, stage_key


def write_report(job: Job) -> str:
    """Write report.html and the files beside it."""
    from scan2gene.report.beside import write_beside
    from scan2gene.report.page import make_report

    key = stage_key(
        "report",
        files={str(p.relative_to(job.out.path)): file_hash(p) for p in job.out.shown()},
        study=job.study.model_dump(mode="json"),
    )
    path = job.out.report.path
    if not job.is_done("report", key):
        stores = {config.name: store.path for config, store in run_stores(job)}
        report = make_report(shown_study(job.study, job.pseudonymiser), job.out.path, stores)
        beside = write_beside(job.out.path, report)
        write_text(path, report.html)
        job.done("report", key, [path, *beside])
    return f"{path} ({file_size(path.stat().st_size)})"
