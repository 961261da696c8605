"""One offline page that shows what every step of a recipe does to one exam."""

from __future__ import annotations

import html
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from scan2gene.core.errors import Scan2GeneError, StudyError
from scan2gene.core.section import Plugin, unknown_name
from scan2gene.core.study import input_roles
from scan2gene.core.study_file import load_study
from scan2gene.core.text import dimensions, duration
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.imaging.picture import PLANES, data_uri, draw_slice
from scan2gene.preprocess.preview import draw_histogram
from scan2gene.preprocess.recipe import apply_recipe, check_recipe
from scan2gene.recipes import recipe_text
from scan2gene.tasks.run_config import resolve

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h2 { margin: 2rem 0 .2rem; font-size: 1.05rem; border-top: 1px solid #d5dae0; padding-top: .8rem; }
p { margin: .2rem 0 .5rem; color: #4c5560; } img { width: 100%; } code { color: #1b1f24; }
.error { color: #a3140f; }
"""


def default_recipe() -> list[Plugin]:
    """The steps of the BRCA study, as `scan2gene new breast-brca` writes them."""
    return [Plugin.model_validate(step) for step in yaml.safe_load(recipe_text("breast-brca"))["preprocess"]]


def preview_page(exam: str, study: Path | None = None, run: str | None = None, roles: Sequence[str] = ()) -> str:
    """The page of one exam with a study's steps.

    Args:
        exam: What `scan2gene.read_volume` opens; plays the study's first input role.
        study: The study file; None takes the steps of `breast-brca`.
        run: Name of a run whose own steps are shown.
        roles: Further roles as "name=path".

    Raises:
        StudyError: A role or run is unknown, or a role is no "name=path".
        ScanError: A scan cannot be read.
    """
    if study is None:
        if roles or run:
            raise StudyError("--role and --run name parts of a study; give the study file after the exam")
        return step_page({"exam": read_volume(exam)}, default_recipe())
    whole = load_study(study)
    runs = {one.name: one for one in whole.runs}
    if run is not None and run not in runs:
        raise StudyError(f"--run {unknown_name(run, runs)}")
    config = resolve(whole, runs[run]) if run else None
    recipe, rules = config.recipe if config else whole.preprocess, whole.cohort.roles
    paths = {(config.roles if config else input_roles(whole))[0]: exam}
    for given in roles:
        name, _, path = given.partition("=")
        if name not in rules or not path:
            raise StudyError(f"--role {given}: expected name=path; role {unknown_name(name, rules)}")
        paths[name] = path
    check_recipe(recipe, rules)
    return step_page({r: read_volume(p, rules[r].kind, rules[r].threshold) for r, p in paths.items()}, recipe)


def step_page(volumes: Mapping[str, Volume], recipe: Sequence[Plugin]) -> str:
    """Slices in three planes and the histogram of every role, as read and after each step.

    Args:
        volumes: Role -> volume as read.
        recipe: Steps in order. Where one cannot be done, the page says why and ends.

    Returns:
        HTML without links to anything outside it, and without the exam's name or path.
    """
    body = "\n".join(_sections(volumes, recipe))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>scan2gene: steps of a recipe</title>'
        f"<style>{_STYLE}</style></head><body><h1>What each step does</h1>"
        "<p>Middle slices, the patient's right on the left. Histograms: voxels on a log scale; blue after the step, "
        f"grey before it where both share a range.</p>{body}</body></html>\n"
    )


def _sections(volumes: Mapping[str, Volume], recipe: Sequence[Plugin]) -> Iterator[str]:
    current = dict(volumes)
    yield "<h2>As read</h2>" + "".join(_role(role, v, None) for role, v in current.items())
    for number, step in enumerate(recipe, 1):
        options = ", ".join(f"{k}: {v}" for k, v in step.options.items())
        yield f"<h2>{number}. {html.escape(step.name)} <code>{html.escape(options)}</code></h2>"
        before, started = current, time.perf_counter()
        try:
            current = apply_recipe(before, [step])
        except Scan2GeneError as error:
            yield f'<p class="error">not done: {html.escape(str(error))}</p>'
            return
        yield f"<p>{duration(time.perf_counter() - started)}</p>"
        yield "".join(_role(role, v, before[role]) for role, v in current.items())


def _role(role: str, volume: Volume, before: Volume | None) -> str:
    facts = (
        f"{html.escape(role)}: {dimensions(volume.array.shape)} voxels of "
        f"{dimensions(volume.spacing_mm)} mm, {volume.orientation}, {volume.array.dtype}, "
        f"{volume.array.min():.4g} to {volume.array.max():.4g}"
    )
    return f'<p>{facts}</p><img alt="{facts}" src="{data_uri(_picture(volume, before), "png")}">'


def _picture(volume: Volume, before: Volume | None) -> bytes:
    """PNG of three planes and the histogram."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.6), layout="constrained")
    axes = figure.subplots(1, 4, width_ratios=[1, 1, 1, 1.1])
    for axis, plane in zip(axes, reversed(PLANES), strict=False):
        draw_slice(axis, volume, plane, plane)
    draw_histogram(axes[3], volume, "voxels by grey value", before)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=100, format="png")
    return stream.getvalue()
