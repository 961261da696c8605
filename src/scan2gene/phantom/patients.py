"""Synthetic patients whose label shows in the image through one known number.

Each patient has a latent z ~ N(effect * y, 1), y the label. z alone sets the angle of
the stripes inside the lesion (low z: bands across the patient, high z: bands along),
so z is all that an image can tell about y and no classifier can beat

    AUROC = Phi(effect / sqrt(2)),

which a reader of the stripes reaches. Turning stripes moves no intensity: mean,
variance and histogram of the lesion carry no label. effect 0 is the null cohort.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

STRIPE_PERIOD_MM = 20.0
STRIPE_AMPLITUDE = 0.30
LESION_LEVEL = 0.55  # between fat and gland, grey and white matter: not the brightest thing around
_EDGE_MM = 1.5  # width of soft borders; keeps the picture free of jagged steps


@dataclass(frozen=True)
class Patient:
    """What there is to know of one synthetic patient."""

    patient_id: str
    organ: str  # "breast" or "brain"
    label: int
    latent: float
    stripe_degrees: float
    centre_mm: tuple[float, float, float]  # RAS
    radius_mm: float
    site: str
    scanner: str
    age: float
    seed: int


def best_auroc(effect: float) -> float:
    """The AUROC of the best possible classifier, Phi(effect / sqrt(2))."""
    return 0.5 * (1 + erf(effect / 2))


def draw_patients(
    n: int, effect: float, organ: str = "breast", seed: int = 0, prevalence: float = 0.5
) -> list[Patient]:
    """Draw `n` patients; site, scanner, age and lesion place are independent of the label.

    Args:
        n: How many.
        effect: Distance of the two classes' latent means, in standard deviations.
        organ: "breast" or "brain".
        seed: Same seed, same patients.
        prevalence: Share of positives, rounded to whole patients.
    """
    from scan2gene.phantom.scanners import SCANNERS, SITES

    rng = np.random.default_rng([seed, n, organ == "brain"])
    labels = rng.permutation((np.arange(n) < round(n * prevalence)).astype(int))
    spread = sqrt(1 + effect**2 / 4)  # standard deviation of z in a balanced cohort
    patients = []
    for index, label in enumerate(labels):
        latent = float(rng.normal(effect * label))
        rank = 0.5 * (1 + erf((latent - effect / 2) / spread / sqrt(2)))
        site = str(rng.choice(list(SITES)))
        scanner = str(rng.choice([s for s in SITES[site] if organ in SCANNERS[s].organs]))
        patients.append(
            Patient(
                patient_id=f"SYN-{index:04d}",
                organ=organ,
                label=int(label),
                latent=latent,
                stripe_degrees=90.0 * rank,
                centre_mm=_lesion_centre(organ, rng),
                radius_mm=float(rng.uniform(14, 19)),
                site=site,
                scanner=scanner,
                age=float(np.round(rng.normal(54, 11), 1)),
                seed=int(rng.integers(2**31)),
            )
        )
    return patients


def _lesion_centre(organ: str, rng: np.random.Generator) -> tuple[float, float, float]:
    side = rng.choice([-1, 1])
    if organ == "breast":
        return (float(side * rng.uniform(62, 88)), float(rng.uniform(24, 42)), float(rng.uniform(-18, 18)))
    return (float(side * rng.uniform(22, 38)), float(rng.uniform(-38, 38)), float(rng.uniform(2, 28)))


def lesion_weight(patient: Patient, points_mm: np.ndarray) -> np.ndarray:
    """Share of lesion at each point, 0 to 1 with a soft border; the mask is where it is >= 0.5.

    Args:
        patient: The patient.
        points_mm: (..., 3) RAS mm.
    """
    return soft(patient.radius_mm - distance(points_mm, patient.centre_mm))


def stripes(patient: Patient, points_mm: np.ndarray, degrees: float | np.ndarray | None = None) -> np.ndarray:
    """The stripe pattern, -1 to 1, in the axial plane; at 0 degrees it varies along x."""
    angle = np.radians(patient.stripe_degrees if degrees is None else degrees)
    offset = points_mm - np.asarray(patient.centre_mm, np.float32)
    along = offset[..., 0] * np.cos(angle) + offset[..., 1] * np.sin(angle)
    return np.cos(along * np.float32(2 * np.pi / STRIPE_PERIOD_MM))


def signal(patient: Patient, points_mm: np.ndarray, sequence: str) -> np.ndarray:
    """Noise-free signal, about 0 to 1, of a sequence at points in the patient.

    Args:
        patient: The patient.
        points_mm: (..., 3) float32 RAS mm.
        sequence: A key of `scanners.SEQUENCES`.
    """
    body = _breast(patient, points_mm) if patient.organ == "breast" else _brain(patient, points_mm)
    if sequence == "t1":  # before contrast: same anatomy, lesion at the level of its surroundings
        level, amplitude = 0.45, STRIPE_AMPLITUDE / 2
    elif sequence == "flair":
        level, amplitude = LESION_LEVEL + 0.05, STRIPE_AMPLITUDE
    else:
        level, amplitude = LESION_LEVEL, STRIPE_AMPLITUDE
    weight = lesion_weight(patient, points_mm)
    return body * (1 - weight) + weight * (level + amplitude * stripes(patient, points_mm))


def soft(signed_mm: np.ndarray) -> np.ndarray:
    """0 outside, 1 inside, linear over the border; `signed_mm` is positive inside."""
    return np.clip(signed_mm / _EDGE_MM + 0.5, 0, 1)


def ellipsoid(points: np.ndarray, centre: tuple, radii: tuple) -> np.ndarray:
    """Soft indicator of an ellipsoid."""
    return soft((1 - distance(points, centre, radii)) * min(radii))


def distance(points: np.ndarray, centre: tuple, radii: tuple = (1, 1, 1)) -> np.ndarray:
    """From a centre, in units of the radii; axis by axis, for a norm over a short last axis is six times as slow."""
    x, y, z = ((points[..., n] - np.float32(centre[n])) / np.float32(radii[n]) for n in range(3))
    return np.sqrt(x * x + y * y + z * z)


def texture(patient: Patient, points: np.ndarray, cell_mm: float, salt: int) -> np.ndarray:
    """Smooth random field, about N(0, 1), fixed to the patient rather than to the scanner's grid."""
    from scipy.ndimage import map_coordinates

    rng = np.random.default_rng([patient.seed, salt])
    lattice = rng.standard_normal((32, 32, 32)).astype(np.float32)
    where = np.moveaxis(points / np.float32(cell_mm) + 16, -1, 0)
    return map_coordinates(lattice, where, order=1, mode="grid-wrap", prefilter=False)


def _breast(patient: Patient, points: np.ndarray) -> np.ndarray:
    left = ellipsoid(points, (-75, 0, 0), (62, 78, 66))
    right = ellipsoid(points, (75, 0, 0), (62, 78, 66))
    front = soft(points[..., 1])
    breast = np.maximum(left, right) * front
    wall = soft(-points[..., 1]) * soft(160 - np.abs(points[..., 0]))
    gland = np.maximum(ellipsoid(points, (-75, 16, 0), (44, 48, 46)), ellipsoid(points, (75, 16, 0), (44, 48, 46)))
    gland = gland * np.clip(0.5 + 0.8 * texture(patient, points, 11.0, 1), 0, 1)
    heart = ellipsoid(points, (-30, -45, -20), (45, 30, 50))
    tissue = 0.28 + 0.5 * gland * front + 0.04 * texture(patient, points, 25.0, 2)
    return breast * tissue + wall * (0.35 + 0.4 * heart)


def _brain(patient: Patient, points: np.ndarray) -> np.ndarray:
    skull = ellipsoid(points, (0, 0, 0), (74, 92, 70))
    inner = ellipsoid(points, (0, 0, 0), (67, 85, 63))
    ventricles = np.maximum(ellipsoid(points, (-11, 2, 12), (8, 28, 12)), ellipsoid(points, (11, 2, 12), (8, 28, 12)))
    white = np.clip(0.5 + 0.7 * texture(patient, points, 12.0, 1), 0, 1)
    brain = 0.42 + 0.22 * white + 0.03 * texture(patient, points, 25.0, 2)
    return (skull - inner) * 0.75 + inner * (brain * (1 - ventricles) + 0.12 * ventricles)
