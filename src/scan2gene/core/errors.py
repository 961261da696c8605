"""Errors a user can act on: what happened, where, and how to mend it.

Messages never carry patient names; ids come from the user's own tables.
"""


class Scan2GeneError(Exception):
    """Base of every error that the command line prints without a traceback."""


class StudyError(Scan2GeneError):
    """The study file is wrong: unknown key, bad value, impossible combination."""


class ScanError(Scan2GeneError):
    """One scan cannot be read or is not a regular 3D volume."""


class GeometryError(Scan2GeneError):
    """An affine, spacing or grid is unusable for the asked operation."""


class CohortError(Scan2GeneError):
    """Labels, scans or splits do not make a usable cohort."""


class RunError(Scan2GeneError):
    """A run directory is incomplete, or belongs to other inputs."""


class WeightsError(Scan2GeneError):
    """A file of network weights is missing, damaged, or not of this network."""
