"""Size, form and place of a lesion: each measure a function of `Region`, named in `SHAPE`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scan2gene.core.geometry import to_sitk
from scan2gene.core.volume import Volume
from scan2gene.features.regions import Region

ANGLES = 10  # equal angles of `angular_deviation`
SMOOTH = 0.1  # of the margin's length, averaged over in `margin_fluctuation`
BOXES = (1, 2, 4, 8, 16)  # pixels along the side of a box in `fractal_dimension`
ELLIPSOID = (1e-2, 2000)  # tolerance and most steps in `ellipsoid_share`


def volume_cm3(lesion: Region) -> float:
    """Volume: number of voxels times their size. Unit: cm3. Source: IBSI, voxel counting (YEKZ)."""
    return len(lesion.voxels) * float(np.prod(lesion.spacing_mm)) / 1000


def surface_cm2(lesion: Region) -> float:
    """Area of the surface, by the Crofton formula over 13 directions. Unit: cm2. Source: Lehmann & Legland 2012."""
    import SimpleITK as sitk

    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(to_sitk(Volume(lesion.inside, np.diag([*lesion.spacing_mm, 1.0]), "label")))
    return float(shape.GetPerimeter(1)) / 100


def surface_to_volume_per_mm(lesion: Region) -> float:
    """Surface over volume. Unit: 1/mm. Source: IBSI (2PR5)."""
    return surface_cm2(lesion) / volume_cm3(lesion) / 10


def sphericity(lesion: Region) -> float:
    """Surface of a ball of the same volume over the lesion's surface; 1 for a ball. Source: IBSI (QCFX)."""
    return float((36 * np.pi * volume_cm3(lesion) ** 2) ** (1 / 3) / surface_cm2(lesion))


def _axes(lesion: Region) -> np.ndarray:
    """Variances (3,) of the voxels' places along the principal axes, in mm2, largest first."""
    places = lesion.voxels * lesion.spacing_mm
    return np.maximum(np.linalg.eigvalsh(np.cov(places.T, bias=True))[::-1], 0)


def long_axis_mm(lesion: Region) -> float:
    """Length of the longest principal axis: 4 standard deviations. Unit: mm. Source: IBSI (TDIC)."""
    return float(4 * np.sqrt(_axes(lesion)[0]))


def elongation(lesion: Region) -> float:
    """Second principal axis over the first; 1 for a ball. Source: IBSI (Q3CK)."""
    first, second, _ = _axes(lesion)
    return float(np.sqrt(second / first)) if first > 0 else np.nan


def flatness(lesion: Region) -> float:
    """Shortest principal axis over the longest; 1 for a ball, 0 for a single slice. Source: IBSI (N17B)."""
    first, _, third = _axes(lesion)
    return float(np.sqrt(third / first)) if first > 0 else np.nan


def inner_radius_mm(lesion: Region) -> float:
    """Greatest distance of a voxel to the outside: radius of the largest ball inside. Unit: mm."""
    return float(lesion.depth_mm.max())


def largest_slice_cm2(lesion: Region) -> float:
    """Area of the lesion in the slice where it is largest. Unit: cm2."""
    return float(_slices(lesion).sum(axis=(1, 2)).max() * np.prod(_pixel_mm(lesion)) / 100)


def _slices(lesion: Region) -> np.ndarray:
    """The lesion with its slices along the first axis, (n, a, b)."""
    return np.moveaxis(lesion.inside, lesion.slice_axis, 0)


def _pixel_mm(lesion: Region) -> np.ndarray:
    return np.delete(lesion.spacing_mm, lesion.slice_axis)


def _hull(lesion: Region) -> tuple[float, np.ndarray]:
    """Volume in mm3 and corners (N, 3) in mm of the convex hull of the voxels, as cuboids."""
    from scipy.spatial import ConvexHull

    corners = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1).reshape(1, 8, 3)
    points = np.unique((np.argwhere(lesion.edge)[:, None] + corners).reshape(-1, 3), axis=0)
    hull = ConvexHull(points * lesion.spacing_mm)
    return float(hull.volume), hull.points[hull.vertices]


def hull_share(lesion: Region) -> float:
    """Volume over that of the convex hull (solidity); 1 without dents. Source: IBSI, volume density (R3ER)."""
    return 1000 * volume_cm3(lesion) / _hull(lesion)[0]


def ellipsoid_share(lesion: Region) -> float:
    """Volume over that of the smallest ellipsoid around the lesion. Source: Czarnek et al. 2017; Khachiyan 1996."""
    points = _hull(lesion)[1]
    points = points - points.mean(axis=0)
    lifted = np.column_stack([points, np.ones(len(points))])  # (N, 4)
    weight = np.full(len(points), 1 / len(points))
    for _ in range(ELLIPSOID[1]):
        moments = lifted.T @ (weight[:, None] * lifted)
        distance = np.einsum("na,ab,nb->n", lifted, np.linalg.inv(moments), lifted)
        farthest = int(distance.argmax())
        excess = distance[farthest]
        if excess <= 4 * (1 + ELLIPSOID[0]):
            break
        step = (excess - 4) / (4 * (excess - 1))
        weight *= 1 - step
        weight[farthest] += step
    centre = weight @ points
    spread = points.T @ (weight[:, None] * points) - np.outer(centre, centre)
    shape = np.linalg.inv(spread) / 3
    reach = np.einsum("na,ab,nb->n", points - centre, shape, points - centre).max()  # so that it holds every point
    volume = 4 / 3 * np.pi * np.sqrt(reach**3 / np.linalg.det(shape))
    return float(1000 * volume_cm3(lesion) / volume)


def _margin(lesion: Region) -> np.ndarray:
    """The margin in every slice, (n, a, b) bool: pixels of the lesion that share a side with one outside."""
    inside = _slices(lesion)
    inner = inside.copy()
    for axis in (1, 2):
        inner &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
    return inside & ~inner


def fractal_dimension(lesion: Region) -> float:
    """Fractal dimension of the margin within slices, by box counting; 1 for a smooth line. Source: Mandelbrot 1982."""
    places = np.argwhere(_margin(lesion))
    extent = np.ptp(places[:, 1:], axis=0).max() + 1
    sizes = [size for size in BOXES if 2 * size <= extent]
    if len(sizes) < 2:
        return np.nan
    places = places - places.min(axis=0)
    counts = [len(np.unique(places // [1, size, size], axis=0)) for size in sizes]
    return float(-np.polyfit(np.log(sizes), np.log(counts), 1)[0])


def _radii(lesion: Region) -> tuple[np.ndarray, np.ndarray]:
    """Angles, ascending, and distances over their mean, of the margin from the centre of the largest slice."""
    inside = _slices(lesion)
    largest = int(inside.sum(axis=(1, 2)).argmax())
    centre = np.argwhere(inside[largest]).mean(axis=0)
    away = (np.argwhere(_margin(lesion)[largest]) - centre) * _pixel_mm(lesion)
    radius = np.hypot(*away.T)
    if radius.size < 2 * ANGLES or not radius.mean() > 0:
        return np.empty(0), np.empty(0)
    angle = np.arctan2(*away.T)
    order = np.lexsort((radius, angle))
    return angle[order], radius[order] / radius.mean()


def angular_deviation(lesion: Region) -> float:
    """Standard deviation of the margin's distance from the centre within each tenth of the circle, averaged.

    In the largest slice; distances over their mean. Source: Czarnek et al. 2017, "angular standard deviation".
    """
    angle, radius = _radii(lesion)
    if not angle.size:
        return np.nan
    sector = np.minimum(((angle + np.pi) / (2 * np.pi) * ANGLES).astype(int), ANGLES - 1)
    return float(np.mean([radius[sector == n].std() for n in range(ANGLES) if (sector == n).sum() > 1]))


def margin_fluctuation(lesion: Region) -> float:
    """Standard deviation of the margin's distance from the centre about its moving average over a tenth of the margin.

    In the largest slice, by angle; distances over their mean. Source: Czarnek et al. 2017.
    """
    radius = _radii(lesion)[1]
    if not radius.size:
        return np.nan
    half = max(1, round(SMOOTH * radius.size / 2))
    around = np.concatenate([radius[-half:], radius, radius[:half]])
    return float(np.std(radius - np.convolve(around, np.full(2 * half + 1, 1 / (2 * half + 1)), mode="valid")))


def _part_sizes(lesion: Region) -> np.ndarray:
    from scipy.ndimage import label

    return np.bincount(label(lesion.inside, np.ones((3, 3, 3)))[0].ravel())[1:]


def parts(lesion: Region) -> float:
    """Number of separate parts, voxels that touch at a corner joined."""
    return float(len(_part_sizes(lesion)))


def largest_part_share(lesion: Region) -> float:
    """Share of the voxels that the largest part has."""
    sizes = _part_sizes(lesion)
    return float(sizes.max() / sizes.sum())


def _place(lesion: Region, axis: int) -> float:
    """Place of the centroid in the body's box along an axis, from 0 to 1."""
    centre = lesion.voxels[:, axis].mean() + lesion.start[axis] + 0.5
    return float((centre - lesion.low[axis]) / (lesion.high[axis] - lesion.low[axis]))


def place_left(lesion: Region) -> float:
    """Place of the centroid in the body's box from the patient's right, 0, to the left, 1."""
    return _place(lesion, 0)


def place_front(lesion: Region) -> float:
    """Place of the centroid in the body's box from the back, 0, to the front, 1."""
    return _place(lesion, 1)


def place_up(lesion: Region) -> float:
    """Place of the centroid in the body's box from the lowest slice, 0, to the highest, 1."""
    return _place(lesion, 2)


def midline_distance(lesion: Region) -> float:
    """Distance of the centroid from the middle of the body's box, as a share of half its width."""
    return abs(2 * place_left(lesion) - 1)


def laterality(lesion: Region) -> float:
    """Share of the lesion in the left half of the body's box minus that in the right: 1 all left, -1 all right."""
    off = 2 * (lesion.voxels[:, 0] + lesion.start[0]) - (lesion.low[0] + lesion.high[0] - 1)
    return float(np.sign(off).mean())


def both_sides(lesion: Region) -> float:
    """Share of the lesion in the half of the body's box that holds less of it: from 0 to 0.5."""
    return (1 - abs(laterality(lesion))) / 2


def body_share(lesion: Region) -> float:
    """Volume of the lesion over that of the body in the field."""
    return len(lesion.voxels) / lesion.body_voxels


SHAPE: dict[str, Callable[[Region], float]] = {
    "volume_cm3": volume_cm3,
    "surface_cm2": surface_cm2,
    "surface_to_volume_per_mm": surface_to_volume_per_mm,
    "sphericity": sphericity,
    "long_axis_mm": long_axis_mm,
    "elongation": elongation,
    "flatness": flatness,
    "inner_radius_mm": inner_radius_mm,
    "largest_slice_cm2": largest_slice_cm2,
    "hull_share": hull_share,
    "ellipsoid_share": ellipsoid_share,
    "fractal_dimension": fractal_dimension,
    "angular_deviation": angular_deviation,
    "margin_fluctuation": margin_fluctuation,
    "parts": parts,
    "largest_part_share": largest_part_share,
    "place_left": place_left,
    "place_front": place_front,
    "place_up": place_up,
    "midline_distance": midline_distance,
    "laterality": laterality,
    "both_sides": both_sides,
    "body_share": body_share,
}
