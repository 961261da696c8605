"""The stores: every exam prepared as the runs ask."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from scan2gene.core.console import say
from scan2gene.core.section import Plugin
from scan2gene.stages.job import Job, stage_key, stores

CUT_WORTH_WARNING = 1.0  # per cent of a body
CUT_EXAMS = 0.1  # share of the exams that may lose that much


def preprocess_exams(job: Job) -> str:
    """Write each store that a run reads, of the roles that it reads."""
    from scan2gene.preprocess.preview import PICTURED, write_kept, write_previews, write_step_pictures
    from scan2gene.preprocess.slice_selection import kept_counts
    from scan2gene.preprocess.store import NO_MARK, build_store

    cohort = job.out.cohort.read()
    paths = job.paths()
    index_stamp = job.out.stamp("index") or {}
    told = []
    for config, store, roles in stores(job):
        steps = config.recipe
        pictured = [step.name for step in steps if step.name in PICTURED]
        key = stage_key(
            "preprocess", cohort=job.out.cohort.hash(), scans=index_stamp.get("key"), recipe=store.name,
            roles={n: r.model_dump() for n, r in roles.items()}, pictured=pictured,
        )  # fmt: skip
        stage = f"preprocess/{store.name}"
        if not job.is_done(stage, key):
            manifest = build_store(store.path, cohort, paths, roles, steps, job.pseudonymiser or str)
            shown = [name for name, role in roles.items() if role.kind == "intensity"]
            pictures = write_previews(store.path, manifest, cohort, paths, shown)
            pictures += write_step_pictures(store.path, manifest, cohort, paths, roles, shown, steps)
            pictures += write_kept(store.path, cohort, paths, shown, steps)
            counts = kept_counts(manifest, cohort, job.out.series.read(), shown, steps)
            if len(counts):
                store.slices.write(counts)
                pictures.append(store.slices.path)
                say("", f"  {store.name}: {counts['kept'].sum()} of {counts['slices'].sum()} slices kept (slices.csv)")
            volumes = [store.path / f for f in manifest["file"].dropna() if f]
            job.done(stage, key, [store.manifest, *pictures, *volumes])
        manifest = store.manifest.read()
        if warning := cut_off(manifest, steps):
            say("", f"  warning: {store.name}: {warning}")
        empty = manifest.loc[manifest["note"].fillna("").str.contains(NO_MARK), "exam_id"].nunique()
        if empty:
            say("", f"  {store.name}: a mask without a marked voxel in {empty} exams (column note of manifest.csv)")
        status = manifest["status"].value_counts()
        told.append(f"{store.name}: {status.get('ok', 0)} volumes, {status.get('failed', 0)} failed")
    return "; ".join(told) or "no network, nothing to prepare"


def cut_off(manifest: pd.DataFrame, steps: Sequence[Plugin]) -> str:
    """A warning where the recipe's grid does not hold nine in ten bodies, else nothing."""
    from scan2gene.preprocess.crop_or_pad import CUT_OFF

    share = manifest["note"].fillna("").str.extract(CUT_OFF.pattern)[0].astype(float).groupby(manifest["exam_id"]).max()
    cut = share[share >= CUT_WORTH_WARNING]
    if len(cut) <= CUT_EXAMS * len(share):
        return ""
    shape = next((s.options["shape"] for s in steps if s.name == "crop_or_pad"), "")
    return (
        f"crop_or_pad with shape {shape} cuts off {CUT_WORTH_WARNING:g} % of the body or more in {len(cut)} of "
        f"{len(share)} exams, at most {cut.max():.0f} %. Give it more voxels, or resample to larger ones."
    )
