"""A brain with a glioma as four MR sequences show it, and the mask of the tumor's parts.

Everything is drawn in *brain coordinates*: the brain's half axes are 1 whatever the grid, so that a small grid shows
the whole brain, only coarser. Axes are (x, y, z), RAS.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ConfigError

Field = NDArray[np.float32]

# Half axes of a brain as parts of the grid: those of BraTS scans, about 140×172×140 of 240×240×155 voxels.
HALF_AXES = (0.29, 0.36, 0.45)
ROOM = 1.12  # no part of the brain lies farther out

# Signal of each tissue in FLAIR, T1w, T1gd and T2w, as parts of white matter's: fluid is dark but in T2w, oedema bright
# in FLAIR and T2w, and only vital tumor takes up gadolinium.
SIGNAL = {
    "white": (1.00, 1.00, 1.00, 1.00),
    "gray": (1.18, 0.80, 0.82, 1.30),
    "nuclei": (1.10, 0.88, 0.90, 1.15),
    "fluid": (0.40, 0.42, 0.42, 2.30),
    "edema": (1.75, 0.76, 0.78, 1.85),
    "core": (1.35, 0.58, 0.62, 2.05),
    "necrosis": (0.95, 0.45, 0.46, 2.15),
    "enhancing": (1.55, 0.74, 1.65, 1.60),
}
CHANNELS = 4
LEAST_AXIS = 24
# Of the public files: 1 mm, x to the left, y to the back, and y's origin at a matrix of 240.
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0, 239], [0, 0, 1.0, 0], [0, 0, 0, 1.0]])
# Parts of a tumor, outermost first: tissue, height of its lobes, least and most of the part before (the brain) that
# it fills.
Parts = tuple[tuple[str, float, float, float], ...]
NESTED: Parts = (("edema", 0.10, 0.02, 0.12), ("core", 0.05, 0.25, 0.55), ("enhancing", 0.05, 0.25, 0.6))
LESION_RADIUS = 0.35  # in brain coordinates; only its proportions matter, since its parts say how large it is


@dataclass(frozen=True, eq=False)
class Brain:
    """One case.

    Attributes
    ----------
    voxels : ndarray of int16, (x, y, z, channel)
        Exactly 0 outside the brain, above 0 inside.
    label : ndarray of uint8, (x, y, z)
        0, and for the parts of the tumor 1, 2, …; each lies inside the one before.
    """

    voxels: NDArray[np.int16]
    label: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Canvas:
    """The part of the grid that the brain can fill: where it begins, and brain coordinates of its voxels."""

    start: tuple[int, ...]
    axes: tuple[Field, Field, Field]

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = (axis.size for axis in self.axes)
        return x, y, z

    @property
    def voxel(self) -> float:
        """Edge of the widest voxel in brain coordinates."""
        return max(float(axis.flat[1] - axis.flat[0]) for axis in self.axes)

    def distance(self, center: tuple[float, ...], radii: tuple[float, ...]) -> Field:
        """Distance from a center, in radii of an ellipsoid."""
        parts = [((axis - at) / radius) ** 2 for axis, at, radius in zip(self.axes, center, radii, strict=True)]
        return np.asarray(np.sqrt(parts[0] + parts[1] + parts[2]), dtype=np.float32)


def check_shape(shape: tuple[int, int, int], where: str) -> None:
    """Raise ConfigError where a grid is too small for a brain."""
    if len(shape) != 3 or min(shape) < LEAST_AXIS:
        problem = f"shape: expected three axes of {LEAST_AXIS} voxels or more, got {'x'.join(map(str, shape))}"
        raise ConfigError(where, problem, "Enlarge shape")


def draw_brain(rng: np.random.Generator, shape: tuple[int, int, int], channels: int, parts: Parts = NESTED) -> Brain:
    """Draw one case: the first so many channels of FLAIR, T1w, T1gd and T2w, and a tumor of some parts.

    By default these are oedema, non-enhancing core and enhancing core inside each other.
    """
    canvas = _lay_out(rng, shape)
    radius = canvas.distance((0, 0, 0), (1, 1, 1)) + 0.025 * smooth_field(rng, canvas.shape, 5)
    brain = radius < 1
    tumor, part = _draw_tumor(rng, canvas, brain, parts)
    tissues = [*_healthy_tissues(rng, canvas, radius), *tumor]
    voxels = np.zeros((*shape, channels), np.int16, order="F")
    x, y, z = (slice(a, a + n) for a, n in zip(canvas.start, canvas.shape, strict=True))
    for channel in range(channels):
        voxels[x, y, z, channel] = _paint(rng, canvas, tissues, brain, channel)
    label = np.zeros(shape, np.uint8, order="F")
    label[x, y, z] = part
    return Brain(voxels, label)


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], knots: int) -> Field:
    """A random field with about `knots` bumps along each axis, standard deviation about 1.

    Cubic B-splines through random coefficients, one axis after the other.
    """
    field = rng.standard_normal((knots + 3,) * 3, dtype=np.float32)
    for count in shape:
        # The axis in front is replaced and goes to the back; after three turns the order is as it was.
        field = np.tensordot(field, _spline_weights(count, knots), axes=(0, 1))
    # Splines average their coefficients: the factor undoes what that takes from the deviation.
    return np.asarray(field * np.float32(3.0))


def _spline_weights(count: int, knots: int) -> Field:
    """Values of uniform cubic B-splines at `count` places, (count, knots + 3)."""
    place = (np.arange(count) + 0.5) / count * knots
    away = np.abs(place[:, np.newaxis] - np.arange(-1, knots + 2))
    near, far = 2 / 3 - away**2 + away**3 / 2, (2 - away) ** 3 / 6
    return np.where(away < 1, near, np.where(away < 2, far, 0)).astype(np.float32)


def _lay_out(rng: np.random.Generator, shape: tuple[int, int, int]) -> _Canvas:
    starts, axes = [], []
    for axis, (count, part) in enumerate(zip(shape, HALF_AXES, strict=True)):
        half = count * part * rng.uniform(0.94, 1.04)
        middle = (count - 1) / 2 + count * rng.uniform(-0.015, 0.015)
        low, high = max(0, int(middle - ROOM * half)), min(count, int(middle + ROOM * half) + 2)
        along = ((np.arange(low, high) - middle) / half).astype(np.float32)
        starts.append(low)
        axes.append(along.reshape(np.where(np.arange(3) == axis, -1, 1)))
    return _Canvas(tuple(starts), (axes[0], axes[1], axes[2]))


def _share(depth: Field, edge: float) -> Field:
    """How much of a voxel is inside, of its depth below a surface and the width of that surface."""
    return np.asarray(np.clip(depth / np.float32(edge) + np.float32(0.5), 0, 1))


def _healthy_tissues(rng: np.random.Generator, canvas: _Canvas, radius: Field) -> list[tuple[str, Field]]:
    """Tissues in the order in which they cover each other, with the share of each voxel that they fill."""
    edge = 1.5 * canvas.voxel
    folds = smooth_field(rng, canvas.shape, 22)
    cortex = _share(np.asarray(radius + 0.06 * folds - 0.84, np.float32), edge)
    sulci = _share(np.asarray(radius + 0.09 * folds - 1.02, np.float32), edge)
    side = float(rng.uniform(0.9, 1.1))
    x, y, z = canvas.axes
    # Mirrored in the mid-plane: the two halves of a brain are alike.
    mirrored = _Canvas(canvas.start, (np.abs(x), y, z))
    warp = np.float32(0.1) * smooth_field(rng, canvas.shape, 6)
    horns = warp + 1 - mirrored.distance((0.13, 0.0, 0.12), (0.11 * side, 0.42, 0.20 * side))
    nuclei = warp + 1 - mirrored.distance((0.30, 0.02, -0.02), (0.14, 0.30, 0.20))
    third = 1 - canvas.distance((0, -0.05, -0.12), (0.035, 0.22, 0.16))
    return [
        ("gray", cortex),
        ("nuclei", _share(nuclei, edge / 0.14)),
        ("fluid", np.maximum(sulci, np.maximum(_share(horns, edge / 0.11), _share(third, edge / 0.04)))),
    ]


def _draw_tumor(
    rng: np.random.Generator, canvas: _Canvas, brain: NDArray[np.bool_], parts: Parts
) -> tuple[list[tuple[str, Field]], NDArray[np.uint8]]:
    """The tumor's tissues, each inside the one before, and the mask that goes with them."""
    depth = _lesion(rng, canvas)
    if rng.random() < 0.25:
        depth = np.maximum(depth, _lesion(rng, canvas) - np.float32(0.2))
    edge = 1.5 * canvas.voxel / LESION_RADIUS
    label = np.zeros(canvas.shape, np.uint8)
    tissues = []
    parent = brain
    for number, (tissue, lobes, least, most) in enumerate(parts, start=1):
        # The level that holds the share: no part is ever missing, however coarse the grid. Depth only falls from part
        # to part, so that each lies inside the one before.
        shape = depth + np.float32(lobes) * smooth_field(rng, canvas.shape, 9)
        level = np.float32(np.quantile(shape[parent], 1 - rng.uniform(least, most)))
        depth = shape - level if number == 1 else np.minimum(depth, shape - level)
        parent = parent & (depth > 0)
        label[parent] = number
        tissues.append((tissue, _share(depth, edge)))
    return tissues, label


def _lesion(rng: np.random.Generator, canvas: _Canvas) -> Field:
    """Depth inside an ellipsoid somewhere in the brain: 1 in its middle, falling on beyond its surface."""
    direction = rng.standard_normal(3)
    center = direction / np.linalg.norm(direction) * rng.uniform(0.25, 0.6)
    radii = LESION_RADIUS * rng.uniform(0.8, 1.25, 3)
    return np.asarray(1 - canvas.distance(tuple(center.tolist()), tuple(radii.tolist())))


def _paint(
    rng: np.random.Generator,
    canvas: _Canvas,
    tissues: list[tuple[str, Field]],
    brain: NDArray[np.bool_],
    channel: int,
) -> NDArray[np.int16]:
    """One sequence: tissues over each other, the coil's slow shading, texture, noise, and the scanner's own scale."""
    signal = np.full(canvas.shape, SIGNAL["white"][channel], np.float32)
    for tissue, share in tissues:
        # Not all patients' tissues are alike.
        value = np.float32(SIGNAL[tissue][channel] * rng.uniform(0.95, 1.05))
        signal += share * (value - signal)
    signal *= 1 + 0.05 * smooth_field(rng, canvas.shape, 2).clip(-2, 2)
    signal += 0.03 * smooth_field(rng, canvas.shape, 24)
    signal += np.float32(0.04) * rng.standard_normal(canvas.shape, dtype=np.float32)
    # MR has no unit: the same brain may come with numbers ten times as large.
    scale = np.float32(np.exp(rng.uniform(np.log(150), np.log(1500))))
    return np.where(brain, np.clip(np.rint(signal * scale), 1, 32000), 0).astype(np.int16)
