"""A picture of the saliency (Grad-CAM) of a classifier: slices with the saliency of a class in color."""

import io

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from voxray.visualization.style import INK, MUTED, SOFTWARE, styled

MOST_SLICES = 12
COLUMNS = 6
OPACITY, CUTOFF = 0.6, 0.15  # of the highest saliency; the share of it below which nothing is drawn


@styled
def saliency_picture(
    images: NDArray[np.float32], saliency: NDArray[np.float32], title: str, class_name: str
) -> tuple[bytes, list[tuple[int, int]]]:
    """Draw slices of a scan's patches (n, x, y, z), each without and with the saliency of a class (n, x, y, z).

    Returns
    -------
    bytes
        A PNG file.
    list of (int, int)
        Patch and z of the displayed slices.
    """
    displayed = choose_slices(saliency)
    columns = min(COLUMNS, len(displayed))
    lines = -(-len(displayed) // columns)
    figure = Figure(figsize=(1.75 * columns + 0.3, 3.7 * lines + 0.9), layout="constrained", dpi=110)
    axes = np.atleast_2d(figure.subplots(2 * lines, columns, squeeze=False))
    low, high = np.percentile(images, [0.5, 99.5])
    highest = float(saliency.max()) or 1.0
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (patch, z) in enumerate(displayed):
        line, column = 2 * (number // columns), number % columns
        gray = np.clip((images[patch, :, :, z] - low) / ((high - low) or 1), 0, 1)
        share = saliency[patch, :, :, z] / highest
        for axis, pixels in ((axes[line, column], _gray(gray)), (axes[line + 1, column], _tinted(gray, share))):
            # Radiological view: the patient's right on the left, anterior up.
            axis.imshow(pixels[::-1, ::-1].transpose(1, 0, 2), interpolation="bilinear")
        name = f"slice {z}" if len(images) == 1 else f"patch {patch}"
        axes[line, column].set_title(name, fontsize=8.5, color=MUTED)
    figure.suptitle(title, fontsize=12, color=INK)
    figure.supxlabel(f"below each slice: saliency of “{class_name}” (Grad-CAM), red is highest", fontsize=8.5)
    sink = io.BytesIO()
    figure.savefig(sink, format="png", metadata={"Software": SOFTWARE})
    return sink.getvalue(), displayed


def choose_slices(saliency: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Patch and z of at most 12 slices: evenly spaced ones, and always the one of the highest saliency."""
    slices = [(patch, z) for patch in range(len(saliency)) for z in range(saliency.shape[3])]
    if len(slices) <= MOST_SLICES:
        return slices
    evenly = np.linspace(0, len(slices) - 1, MOST_SLICES).round().astype(int)
    highest = int(saliency.max((1, 2)).argmax())
    # The slice of the highest saliency replaces its nearest neighbor.
    evenly[np.abs(evenly - highest).argmin()] = highest
    return [slices[number] for number in sorted(set(evenly.tolist()))]


def _gray(share: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.repeat(share[..., None], 3, -1).astype(np.float64)


def _tinted(gray: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float64]:
    heat = colormaps["turbo"](0.4 + 0.55 * share)[..., :3]
    opacity = OPACITY * np.clip((share - CUTOFF) / (1 - CUTOFF), 0, 1)[..., None]
    tinted: NDArray[np.float64] = (1 - opacity) * _gray(gray) + opacity * heat
    return tinted
