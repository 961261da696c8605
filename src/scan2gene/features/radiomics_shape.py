"""Shape features from the triangle mesh around a mask.

Source: Lorensen & Cline 1987, "Marching cubes"; the triangles of each cube are those of pyradiomics (BSD-3-Clause,
Copyright 2017 Harvard Medical School), so that surfaces and volumes agree with it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

NAMES = (
    "Elongation", "Flatness", "LeastAxisLength", "MajorAxisLength", "Maximum2DDiameterColumn",
    "Maximum2DDiameterRow", "Maximum2DDiameterSlice", "Maximum3DDiameter", "MeshVolume", "MinorAxisLength",
    "Sphericity", "SurfaceArea", "SurfaceVolumeRatio", "VoxelVolume",
)  # fmt: skip
HULL = 1000  # vertices from which a convex hull is worth its time

# Bit n of a cube's number: corner n is inside. The upper half of the numbers are the lower half turned inside out.
_CORNERS = np.array([(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 0), (1, 0, 0), (1, 0, 1), (1, 1, 1), (1, 1, 0)])
_ENDS = ((1, 0), (2, 1), (3, 2), (3, 0), (5, 4), (6, 5), (7, 6), (7, 4), (4, 0), (5, 1), (6, 2), (7, 3))
_EDGES = np.array([(_CORNERS[a] + _CORNERS[b]) / 2 for a, b in _ENDS])  # (12, 3): middle of each edge
# One word for each cube, three hexadecimal digits for each triangle: the edges of its vertices.
_TRIANGLES = """
- 083 190 183198 12a 08312a 92a029 2832a8a98 b23 b2008b 190b23 b2119b98b 3a1ba3 a1008a8ba 9033b9ba9 98aba8 478
043473 190478 194147173 12a478 34730412a 92a902478 2a9297273479 478b23 b47b24204 190478b23 47b94bb29192
3a1ba3478 ba114b10447b 4789033b9ba9 47b4b99ba 954 954083 054015 854835315 12a954 08312a954 2a5542240
2a5325354834 954b23 b2008b954 054015b23 215258b28548 3a1ba3954 549a1008a8ba 54050ba5bb03 548a58ba8 789579
309539357 780017715 157173 78957912a 12a309395357 0288258572a5 2a5253357 579789b23 579972209b27 b23018178157
21b17b157 7895793a1ba3 5705097b0a10ba0 ba003ba50078570 ba557b 65a 08365a 19065a 18319865a 165126 165126083
965906026 598582526832 b2365a b2008b65a 190b2365a b2119b98b65a 63b653513 08b0b50515b6 63b036065059 65969bb98
47865a 04347365a 19047865a 19414717365a 478165126 043473165126 478965906026 739479329596269 b2347865a
b47b2420465a 190b2347865a 47b94bb2919265a 47863b653513 51b5b610b47b04b 47863b036065059 65969b4797b9 a4964a
a4964a083 01aa60640 18316886461a 149124264 149124264083 024426 832824426 b23a4964a b2008ba4964a b2301aa60640
64161a148b2118b 964369139b63 18b081b61149641 63b036640 86468b 67a78a89a 67a0a709a073 67a1a7178018 67a1a7173
126168189678 269129679309739 078706602 273267 b2367a78a89a 207b2709767a9a7 67a1a7178018b23 b2117ba61167
896678169b63136 09167b 07870603bb60 67b
"""


def shape_features(mask: np.ndarray, spacing: tuple[float, ...]) -> dict[str, float]:
    """Size and form of a mask.

    Args:
        mask: (K, J, I) bool, at least one voxel set.
        spacing: Along k, j, i, in mm.

    Returns:
        Values by `NAMES`; lengths in mm, areas in mm2, volumes in mm3.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    step = np.asarray(spacing, dtype=np.float64)
    count, vertices, area, volume = _mesh()(padded, *_cubes(tuple(spacing)), step, 6 * int(mask.sum()))
    points = np.argwhere(mask) * step
    centred = points - points.mean(axis=0)
    least, minor, major = np.sqrt(np.linalg.eigvalsh(centred.T @ centred / len(points)).clip(0)).tolist()
    in_slice, in_column, in_row, overall = _diameters(vertices[:count], step)
    return {
        "Elongation": minor / major if major else np.nan,
        "Flatness": least / major if major else np.nan,
        "LeastAxisLength": 4 * least,
        "MajorAxisLength": 4 * major,
        "Maximum2DDiameterColumn": in_column,
        "Maximum2DDiameterRow": in_row,
        "Maximum2DDiameterSlice": in_slice,
        "Maximum3DDiameter": overall,
        "MeshVolume": volume,
        "MinorAxisLength": 4 * minor,
        "Sphericity": (36 * np.pi * volume**2) ** (1 / 3) / area,
        "SurfaceArea": area,
        "SurfaceVolumeRatio": area / volume,
        "VoxelVolume": len(points) * float(step.prod()),
    }


@cache
def _cubes(spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each of 256 cubes adds: area (256,), six times the volume (256,), and its change with the place (256, 3)."""
    area, volume, moment = np.zeros(256), np.zeros(256), np.zeros((256, 3))
    for number, word in enumerate(_TRIANGLES.split()):
        edges = [] if word == "-" else [int(digit, 16) for digit in word]
        a, b, c = (_EDGES[edges] * spacing).reshape(-1, 3, 3).transpose(1, 0, 2)  # (T, 3) each
        area[number] = area[255 - number] = np.linalg.norm(np.cross(a - c, b - c), axis=1).sum() / 2
        volume[number] = (np.cross(a, b) * c).sum()
        moment[number] = (np.cross(a, b) + np.cross(b, c) + np.cross(c, a)).sum(axis=0)
        volume[255 - number], moment[255 - number] = -volume[number], -moment[number]
    return area, volume, moment


def _diameters(vertices: np.ndarray, spacing: np.ndarray) -> list[float]:
    """Largest distance between vertices (V, 3) int32 in half voxels: with equal k, equal j, equal i, and of all."""
    largest = _largest()
    half = spacing / 2
    planes = []
    for axis in range(3):
        order = np.lexsort((vertices[:, (axis + 1) % 3], vertices[:, axis]))
        planes.append(largest(vertices[order] * half, vertices[order, axis]))
    corners = vertices
    if len(vertices) > HULL:
        from scipy.spatial import ConvexHull

        corners = vertices[ConvexHull(vertices).vertices]
    return [*planes, largest(corners * half, np.zeros(len(corners), np.int32))]


@cache
def _mesh():
    """The compiled walk over the cubes of a padded mask."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def walk(mask, areas, volumes, moments, spacing, faces):
        slices, rows, columns = mask.shape
        vertices = np.empty((faces, 3), np.int32)  # in half voxels
        count, area, volume = 0, 0.0, 0.0
        for k in range(slices - 1):
            for j in range(rows - 1):
                for i in range(columns - 1):
                    here = mask[k, j, i]
                    number = (
                        here | mask[k, j, i + 1] << 1 | mask[k, j + 1, i + 1] << 2 | mask[k, j + 1, i] << 3
                        | mask[k + 1, j, i] << 4 | mask[k + 1, j, i + 1] << 5
                        | mask[k + 1, j + 1, i + 1] << 6 | mask[k + 1, j + 1, i] << 7
                    )  # fmt: skip
                    if number == 0 or number == 255:
                        continue
                    area += areas[number]
                    volume += volumes[number]
                    volume += k * spacing[0] * moments[number, 0]
                    volume += j * spacing[1] * moments[number, 1] + i * spacing[2] * moments[number, 2]
                    for axis in range(3):
                        other = mask[k + (axis == 0), j + (axis == 1), i + (axis == 2)]
                        if other != here:
                            vertices[count, 0] = 2 * k + (axis == 0)
                            vertices[count, 1] = 2 * j + (axis == 1)
                            vertices[count, 2] = 2 * i + (axis == 2)
                            count += 1
        return count, vertices, area, volume / 6

    return walk


@cache
def _largest():
    """The compiled search for the largest distance within groups of points that follow each other."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def largest(points, group):
        best = 0.0
        start = 0
        for stop in range(1, len(points) + 1):
            if stop == len(points) or group[stop] != group[start]:
                for a in range(start, stop):
                    for b in range(a + 1, stop):
                        x, y, z = points[a, 0] - points[b, 0], points[a, 1] - points[b, 1], points[a, 2] - points[b, 2]
                        best = max(best, x * x + y * y + z * z)
                start = stop
        return np.sqrt(best)

    return largest
