"""A picture of where a classifier sees its evidence: slices with what speaks for a class in color."""

import io

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from numpy.typing import NDArray

from voxray.visualization.style import INK, MUTED, styled

MOST_SLICES = 12
COLUMNS = 6
STRONGEST, WEAKEST = 0.6, 0.15  # opacity of the strongest evidence; the share of it below which nothing is drawn


@styled
def evidence_picture(
    images: NDArray[np.float32], evidence: NDArray[np.float32], title: str, finding: str
) -> tuple[bytes, list[tuple[int, int]]]:
    """Draw the slices of a scan's patches, each without and with the evidence.

    Parameters
    ----------
    images, evidence : ndarray, (n, x, y, z)
    title, finding : str
        The verdict, and the class that the evidence is of.

    Returns
    -------
    bytes
        A PNG file.
    list of (int, int)
        Patch and z of the slices that are shown.
    """
    shown = chosen_slices(evidence)
    columns = min(COLUMNS, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(1.75 * columns + 0.3, 3.7 * lines + 0.9), layout="constrained", dpi=110)
    axes = np.atleast_2d(figure.subplots(2 * lines, columns, squeeze=False))
    low, high = np.percentile(images, [0.5, 99.5])
    strongest = float(evidence.max()) or 1.0
    for axis in axes.flat:
        axis.set_axis_off()
    for number, (patch, z) in enumerate(shown):
        line, column = 2 * (number // columns), number % columns
        gray = np.clip((images[patch, :, :, z] - low) / ((high - low) or 1), 0, 1)
        share = evidence[patch, :, :, z] / strongest
        for axis, pixels in ((axes[line, column], _gray(gray)), (axes[line + 1, column], _tinted(gray, share))):
            # As radiologists look at it: the patient's right at the left, anterior up.
            axis.imshow(pixels[::-1, ::-1].transpose(1, 0, 2), interpolation="bilinear")
        name = f"slice {z}" if len(images) == 1 else f"patch {patch}"
        axes[line, column].set_title(name, fontsize=8.5, color=MUTED)
    figure.suptitle(title, fontsize=12, color=INK)
    figure.supxlabel(f"below each slice: what speaks for “{finding}” (Grad-CAM), red is strongest", fontsize=8.5)
    sink = io.BytesIO()
    figure.savefig(sink, format="png")
    return sink.getvalue(), shown


def chosen_slices(evidence: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Patch and z of at most 12 slices: evenly spaced ones, and always the one of the strongest evidence."""
    places = [(patch, z) for patch in range(len(evidence)) for z in range(evidence.shape[3])]
    if len(places) <= MOST_SLICES:
        return places
    strongest = evidence.max((1, 2)).reshape(-1)
    even = np.linspace(0, len(places) - 1, MOST_SLICES).round().astype(int)
    best = int(strongest.argmax())
    # The strongest one takes the place of its neighbor.
    even[np.abs(even - best).argmin()] = best
    return [places[number] for number in sorted(set(even.tolist()))]


def _gray(share: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.repeat(share[..., None], 3, -1).astype(np.float64)


def _tinted(gray: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float64]:
    heat = colormaps["turbo"](0.4 + 0.55 * share)[..., :3]
    opacity = STRONGEST * np.clip((share - WEAKEST) / (1 - WEAKEST), 0, 1)[..., None]
    tinted: NDArray[np.float64] = (1 - opacity) * _gray(gray) + opacity * heat
    return tinted
