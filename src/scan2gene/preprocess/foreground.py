"""Which voxels show the body and which air, by the level of the air's noise.

Otsu's threshold parts bright from dark tissue as soon as the body fills half the field. Here the
threshold comes from the air alone: magnitude noise has a narrow peak at the dark end of the
histogram (Rayleigh, or non-central chi with several coils), and the threshold lies above it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from scan2gene.preprocess.components import large_components
from scan2gene.preprocess.grey import histogram
from scan2gene.preprocess.threads import in_slabs, restored, slices_first

LEVELS, FINE = 256, 4096  # bins of the histogram, and of the one that finds its upper end
BRIGHT = 0.99  # share of voxels below the upper end of the histogram; vessels and artefacts lie above
PADDING = (0.05, 0.25)  # share of voxels at the minimum that is padding; from where on it is the air itself
PEAK = 0.25  # of the highest peak: what counts as a peak of its own
FLAT = 0.85  # of its height: its top
SKEW = 2.0  # largest right over left half-width of noise; 1.5 for Rayleigh noise, less with several coils
SAMPLE = 65536  # voxels that show the step between grey values
HALF_WIDTHS = 1.0  # from the peak's centre to the threshold: 2.1 standard deviations of Rayleigh noise
SURE = 6.0  # half-widths above which a single voxel counts; below, the mean of its neighbourhood decides
GHOST = 0.08  # of the mean of the brighter class: artefacts in the air are darker than that
AIR = 0.45  # centre of the peak over the mean of what is brighter, above which there is no air in the field


def foreground(array: np.ndarray) -> np.ndarray:
    """The body (I, J, K) bool: the largest 26-connected component above the air's noise, holes filled.

    Each voxel is decided by the mean of its 3 x 3 x 3 neighbourhood, bright values lowered so that
    borders stay where they are. Holes are closed in every slice along the last axis; dark parts
    that reach the field's edge, such as lungs cut by it, stay out. All True where the field holds
    no air, all False where every voxel has one value.

    Args:
        array: (I, J, K), finite.
    """
    return filled(large_components(above_noise(array), None))


def above_noise(array: np.ndarray) -> np.ndarray:
    """Voxels (I, J, K) that are brighter than the air's noise; arguments as in `foreground`."""
    low, high = float(array.min()), float(array.max())
    if high <= low:
        return np.zeros(array.shape, bool)
    centre, half, brighter = _air(array, low, high)
    if centre - low > AIR * (brighter - low):
        return np.ones(array.shape, bool)
    level = max(centre + HALF_WIDTHS * half, low + GHOST * (brighter - low))
    sure = max(centre + SURE * half, level)
    ceiling = 1.65 * level - 0.65 * centre  # so that a plane between bright tissue and air stays where it is
    source, order = slices_first(array)
    out = np.empty(source.shape, np.uint8)
    kernel = _kernels()[0]
    levels = (np.float32(level), np.float32(ceiling), np.float32(sure))
    in_slabs(lambda a, b: kernel(source, *levels, a, b, out), source.shape[0])
    return restored(out.view(bool), order)


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask (I, J, K) with holes closed: pixels that no path within their slice along k joins to its edge."""
    source = np.ascontiguousarray(mask.transpose(2, 0, 1)).view(np.uint8)  # (K, I, J)
    out = np.empty(source.shape, np.uint8)
    kernel = _kernels()[1]
    in_slabs(lambda a, b: kernel(source, a, b, out), source.shape[0])
    return out.view(bool).transpose(1, 2, 0)


def _air(array: np.ndarray, low: float, high: float) -> tuple[float, float, float]:
    """Centre of the darkest peak of the histogram, half its width at half its height, mean of what is brighter."""
    fine = histogram(array, low, high, FINE)
    top = low + (high - low) * (np.searchsorted(np.cumsum(fine), BRIGHT * array.size) + 1) / FINE
    step = _step(array)
    # bins as wide as a whole number of steps: else some would hold more of them than others
    width = (top - low) / LEVELS if step == 0 else step * np.ceil(max(1.0, (top - low + step) / (LEVELS * step)))
    start = low - step / 2
    counts = histogram(array, start, start + width * LEVELS, LEVELS)[:-1].astype(float)  # the last: brighter ones
    values = low + (high - low) * (np.arange(FINE) + 0.5) / FINE
    lowest = array == low
    share = float(lowest.mean())
    for at_low in (lowest.sum(), 0) if share < PADDING[1] else (0,):
        left, right = _peak(np.append(counts[0] - at_low, counts[1:]))
        centre, half = start + width * (left + right + 1) / 2, width * (right - left) / 2
        above = np.where(values > centre + HALF_WIDTHS * half, fine, 0)
        brighter = float(values @ above / above.sum()) if above.any() else centre
        is_air = centre - low <= AIR * (brighter - low)
        if at_low and is_air and (share < PADDING[0] or _borders_on_dark(lowest, array <= centre + HALF_WIDTHS * half)):
            break  # voxels at the minimum are padding, and the air has noise of its own
    return centre, half, brighter


def _borders_on_dark(lowest: np.ndarray, dark: np.ndarray) -> bool:
    """True where most neighbours of the voxels at the minimum are dark: padding within air, not air around a body."""
    some = slice(None, None, max(1, lowest.shape[2] // 16))  # slices are enough of a sample
    near, count = 0, 0
    for axis in (0, 1):
        low, other = np.moveaxis(lowest[:, :, some], axis, 0), np.moveaxis(dark[:, :, some], axis, 0)
        for one, two in ((slice(None, -1), slice(1, None)), (slice(1, None), slice(None, -1))):
            edge = low[one] & ~low[two]
            count += int(edge.sum())
            near += int((edge & other[two]).sum())
    return near > count / 2


def _step(array: np.ndarray) -> float:
    """The step between grey values, such as 1 for whole numbers; 0 where they hardly repeat."""
    sample = array.reshape(-1, order="A")[:: max(1, array.size // SAMPLE)].astype(np.float64)
    values = np.unique(sample)
    steps = np.diff(values)
    steps = steps[steps > 1e-6 * (values[-1] - values[0])]
    return float(steps.min()) if steps.size and values.size < sample.size / 4 else 0.0


def _peak(counts: np.ndarray) -> tuple[float, float]:
    """Where the first peak of a histogram (N,) reaches half its height, in bins; -0.5 where it begins before."""
    smooth = np.convolve(np.pad(counts, 2, mode="reflect"), np.array([1, 4, 6, 4, 1]) / 16, mode="valid")
    before, after = np.append(-1, smooth[:-1]), np.append(smooth[1:], -1)
    peaks = np.flatnonzero((smooth >= before) & (smooth > after))
    peak = int(peaks[smooth[peaks] >= PEAK * smooth[peaks].max()][0])
    half, flat = smooth[peak] / 2, FLAT * smooth[peak]
    below, above = np.flatnonzero(smooth[:peak] < half), np.flatnonzero(smooth[peak:] < half)
    first, last = np.flatnonzero(smooth[:peak] < flat), np.flatnonzero(smooth[peak:] < flat)
    middle = ((first[-1] + 1 if first.size else 0) + (peak + last[0] - 1 if last.size else len(smooth) - 1)) / 2
    left, right = -0.5, float(len(smooth) - 1)
    if below.size:
        left = below[-1] + (half - smooth[below[-1]]) / (smooth[below[-1] + 1] - smooth[below[-1]])
    if above.size:
        n = peak + int(above[0])
        right = n - (half - smooth[n]) / (smooth[n - 1] - smooth[n])
    # dark tissue is the shoulder of a peak: noise falls off to the right at most twice as far as it rises
    return left, min(right, middle + SKEW * max(middle - left, 0.5))


@cache
def _kernels():
    """Compiled at first use, one version per number type; kept on disk."""
    import numba

    @numba.njit(nogil=True, cache=True)
    def bright(source, level, ceiling, sure, start, stop, out):
        slices, rows, columns = source.shape
        sums = np.empty(columns, np.float32)
        for a in range(start, stop):
            for b in range(rows):
                sums[:] = 0
                for da in range(-1, 2):
                    for db in range(-1, 2):
                        line = source[min(max(a + da, 0), slices - 1), min(max(b + db, 0), rows - 1)]
                        for c in range(columns):
                            sums[c] += min(np.float32(line[c]), ceiling)
                for c in range(columns):
                    total = sums[max(c - 1, 0)] + sums[c] + sums[min(c + 1, columns - 1)]
                    out[a, b, c] = total > 27 * level or np.float32(source[a, b, c]) > sure

    @numba.njit(nogil=True, cache=True)
    def fill(source, start, stop, out):
        rows, columns = source.shape[1:]
        stack = np.empty((rows * columns, 2), np.int32)
        for a in range(start, stop):
            mask, result = source[a], out[a]
            result[:] = 1
            count = 0
            for b in range(rows):  # every pixel is put on the stack once at most: it is marked when put there
                for c in range(columns):
                    edge = b == 0 or c == 0 or b == rows - 1 or c == columns - 1
                    if edge and mask[b, c] == 0:
                        result[b, c] = 0
                        stack[count, 0], stack[count, 1] = b, c
                        count += 1
            while count > 0:
                count -= 1
                b, c = stack[count, 0], stack[count, 1]
                for near in range(4):
                    p = b + (near == 0) - (near == 1)
                    q = c + (near == 2) - (near == 3)
                    if 0 <= p < rows and 0 <= q < columns and mask[p, q] == 0 and result[p, q] == 1:
                        result[p, q] = 0
                        stack[count, 0], stack[count, 1] = p, q
                        count += 1

    return bright, fill
