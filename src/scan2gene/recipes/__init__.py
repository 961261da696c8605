"""Commented study files to start from; the first comment line is the title."""

from __future__ import annotations

from importlib.resources import files

from scan2gene.core.errors import StudyError
from scan2gene.core.section import unknown_name


def recipes() -> dict[str, str]:
    """Recipe name -> title."""
    folder = files("scan2gene.recipes")
    names = sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    return {n: recipe_text(n).partition("\n")[0].lstrip("# ") for n in names}


def recipe_text(name: str) -> str:
    """The study file of a recipe.

    Raises:
        StudyError: No such recipe; the message lists them.
    """
    file = files("scan2gene.recipes").joinpath(f"{name}.yaml")
    if not file.is_file():
        raise StudyError(
            f"recipe {unknown_name(name, recipes())} All of them learn classes of patients or sides; segmentation, "
            "detection, regression and survival are not done here. For scans and labels of your own: "
            "scan2gene new --scans FOLDER --labels FILE"
        )
    return file.read_text(encoding="utf-8")
