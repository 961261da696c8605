"""Lists of steps: checked before any work, named by a hash, run on the volumes of one exam.

Options that hold a volume (`mask`, `reference`) name a role in a study file. Every role is
then treated by the same picture, taken as it was before the step.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args, get_origin, get_type_hints

from scan2gene.core.errors import Scan2GeneError, ScanError, StudyError
from scan2gene.core.files import value_hash
from scan2gene.core.section import Plugin, unknown_name, version_of
from scan2gene.core.study_cohort import Role
from scan2gene.core.volume import Volume
from scan2gene.imaging.index import read_volume
from scan2gene.preprocess import GEOMETRIC, STEPS
from scan2gene.tasks.run_config import RunConfig

VERSION = 1  # raised when `apply_recipe` does the same steps otherwise, or a store keeps volumes otherwise
ROLE_OPTIONS = ("mask", "reference")
NEED_NOISE = ("remove_background", "body_crop", "edge_slices", "n4")  # they tell the body from the noise of the air


def check_recipe(recipe: Sequence[Plugin], roles: Mapping[str, Role]) -> None:
    """Refuse unknown steps, options and roles before any work starts.

    Raises:
        StudyError: With the valid names.
    """
    equalised = False
    for step in recipe:
        if step.name not in STEPS:
            raise StudyError(f"preprocess step {unknown_name(step.name, STEPS)}")
        parameters = inspect.signature(STEPS[step.name]).parameters
        options = [p for p in parameters if p != "volume"]
        allowed = get_type_hints(STEPS[step.name])
        for option, value in step.options.items():
            if option not in options:
                raise StudyError(f"preprocess step {step.name}: option {unknown_name(option, options)}")
            if get_origin(allowed[option]) is Literal and value not in get_args(allowed[option]):
                known = unknown_name(str(value), get_args(allowed[option]))
                raise StudyError(f"preprocess step {step.name}: {option} {known}")
            if option in ("shape", "spacing_mm"):
                _check_axes(step, option, free="None" in str(allowed[option]))
        if equalised and _looks_for_air(step):
            raise StudyError(
                f"preprocess: {step.name} stands after equalise, which makes the noise of the air as bright as tissue: "
                f"the body is not found. Put {step.name} before it, and let equalise count the body only: "
                "{name: equalise, options: {body: true}}"
            )
        equalised |= step.name == "equalise"
        missing = [o for o in options if parameters[o].default is inspect.Parameter.empty and o not in step.options]
        if missing:
            raise StudyError(f"preprocess step {step.name} needs the option {missing[0]!r}")
        for option in ROLE_OPTIONS:
            if step.options.get(option) is not None and step.options[option] not in roles:
                raise StudyError(
                    f"preprocess step {step.name}: role {unknown_name(str(step.options[option]), roles)}"
                )  # fmt: skip
        if len(roles) > 1 and _lacks_reference(step):
            raise StudyError(
                f"preprocess step {step.name} would cut another box out of every role; name the role that decides, "
                f"such as reference: {next(iter(roles))}"
            )


def _check_axes(step: Plugin, option: str, free: bool) -> None:
    """Refuse a shape or spacing that is not one number for each axis."""
    value = step.options[option]
    number = int if option == "shape" else (int, float)
    three = isinstance(value, list | tuple) and len(value) == 3
    if (value is None and free) or (
        three and all((v is None and free) or (isinstance(v, number) and v > 0) for v in value)
    ):
        return
    words = "three whole numbers above 0, one for each axis" if option == "shape" else "three lengths in mm above 0"
    left = ", or null to leave an axis as it is" if free else ""
    raise StudyError(f"preprocess step {step.name}: {option} takes {words}{left}; got {value!r}")


def moves_voxels(step: Plugin) -> bool:
    """True for steps that change the grid; masks take part in these and in no other."""
    return step.name in GEOMETRIC or bool(step.options.get("crop"))


def roles_of_steps(recipe: Sequence[Plugin]) -> list[str]:
    """Roles that the steps name as their mask or reference."""
    named = [step.options.get(option) for step in recipe for option in ROLE_OPTIONS]
    return list(dict.fromkeys(str(role) for role in named if role is not None))


def roles_seen(config: RunConfig) -> dict[str, Role]:
    """Roles on which a run's answer depends: what its network sees, and what its steps name; features read all."""
    if config.model.options.get("features"):
        return dict(config.cohort_roles)
    needed = {*config.roles, *roles_of_steps(config.recipe)}
    return {n: role for n, role in config.cohort_roles.items() if n in needed}


def roles_read(config: RunConfig) -> list[str]:
    """Roles that a run needs prepared: what its network sees, what its steps name, and masks, which audits read."""
    return [n for n, role in config.cohort_roles.items() if n in roles_seen(config) or role.kind == "label"]


def _looks_for_air(step: Plugin) -> bool:
    """True for a step that tells the body from the noise of the air."""
    return step.name in NEED_NOISE and not (
        step.options.get("threshold") is not None
        or step.options.get("mask") is not None
        or step.options.get("rule") == "middle"
    )


def _lacks_reference(step: Plugin) -> bool:
    """True for a step that finds its box in each picture it is given, unless a role is named."""
    takes = "reference" in inspect.signature(STEPS[step.name]).parameters
    return takes and moves_voxels(step) and step.options.get("reference") is None


def apply_recipe(
    volumes: Mapping[str, Volume],
    recipe: Sequence[Plugin],
    optional: Collection[str] = (),
    lost: dict[str, str] | None = None,
) -> dict[str, Volume]:
    """Run every step on every volume of one exam.

    Args:
        volumes: Role -> volume. Masks take part in geometric steps only.
        recipe: Steps in order.
        optional: Roles that may be lost as long as one is left, such as a series of two slices.
        lost: Is told why they were.

    Raises:
        ScanError, GeometryError: A step cannot be done on this exam.
    """
    current = dict(volumes)
    del volumes  # a caller that let go of them: no scan is held longer than its first step
    for step in recipe:
        options = dict(step.options)
        for option in ROLE_OPTIONS:
            if options.get(option) is not None:
                if options[option] not in current:
                    raise ScanError(f"{step.name} needs the role {options[option]!r}, which this exam lacks")
                options[option] = current[options[option]]
        if len(current) > 1 and _lacks_reference(step):
            raise ScanError(f"{step.name} needs the option reference: the role whose box all others take")
        for role in list(current):
            volume = current[role]
            try:
                if volume.array.ndim == 4 and step.name != "first_channel":
                    raise ScanError(f"{role} is a colour image; put the step first_channel before {step.name}")
                if volume.kind == "intensity" or moves_voxels(step):
                    current[role] = STEPS[step.name](volume, **options)
            except Scan2GeneError as error:
                if lost is None or role not in optional or len(current) == 1:
                    raise
                lost[role] = str(error)
                del current[role]
    return current


def recipe_hash(recipe: Sequence[Plugin]) -> str:
    """Name of a recipe's store: hash of its steps with options and versions, and the versions of reading and this file.

    Other steps do not count, so a new step renames no store.
    """
    steps = [(s.name, s.options, version_of(STEPS[s.name])) for s in recipe]
    return value_hash([version_of(read_volume), VERSION, steps])[:8]
