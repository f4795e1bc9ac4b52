"""Figures: one plain style, what several of them draw, and a way to show them with their text.

A figure never goes without its alternative text: every function of `plots` that draws returns both.
"""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from IPython.display import Image, display
from matplotlib.figure import Figure

from nbhelpers.plots.tables import SEXES

CSS_DPI = 96  # a CSS pixel is 1/96 inch, so a figure of 7 inches is 672 pixels wide
SHARPNESS = 2  # drawn pixels a CSS pixel
INK, SOFT, LINE = "#1d2429", "#5b666e", "#d9d6d0"
# Okabe and Ito's colours, told apart with every common kind of colour vision.
COLOURS = ("#1f5f7a", "#d1792b", "#4a9d7f", "#a6548c", "#8a6d3b", "#5b8fd1", "#b8433a", "#7d858b")
SEX_COLOURS = {"female": COLOURS[1], "male": COLOURS[0], "unknown": COLOURS[7]}
BINS_MONTHS = np.arange(0, 241, 12)
STYLE = {
    "figure.figsize": (7.0, 3.8),
    "figure.dpi": CSS_DPI,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": SOFT,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.usetex": False,  # which a user's own matplotlibrc may ask for
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "image.cmap": "gray",
    "lines.linewidth": 1.8,
}


# Importing this file makes the suite's style matplotlib's default in this process.
plt.rcParams.update(STYLE)
plt.rcParams["axes.prop_cycle"] = cycler(color=COLOURS)


def show(figure: Figure, alt: str) -> None:
    """Show a figure in the notebook and on its page, then close it.

    alt: what a reader who does not see the figure needs to know, one or two sentences. It travels
    in the output's metadata. The PNG has twice the pixels that it is shown with. Raises ValueError
    without it.
    """
    if not alt.strip():
        raise ValueError("figures.show needs alt: say in a sentence what the figure shows.")
    drawn = png(figure)
    width = int.from_bytes(drawn[16:20], "big") // SHARPNESS  # from the PNG's header
    plt.close(figure)
    # Not `Image(alt=...)`: Kaggle and Colab have IPython 7.34, which does not know it.
    display(Image(drawn, format="png", width=width, metadata={"alt": " ".join(alt.split())}))


def png(figure: Figure) -> bytes:
    """The figure as a PNG, cut to what is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=CSS_DPI * SHARPNESS, bbox_inches="tight")
    return buffer.getvalue()


def year_axis(axes: plt.Axes) -> None:
    """Ticks of a horizontal axis in months every two years, with the years below them."""
    ticks = BINS_MONTHS[::2]
    axes.set_xticks(ticks, [f"{tick}\n{tick // 12} y" for tick in ticks])
    axes.set(xlim=(0, 240), xlabel="bone age, months and years")


def by_sex(rows: pd.DataFrame) -> dict[str, object]:
    """How seaborn shows the sexes of the rows: their colours, and names as "girls, n = 900"."""
    sex = rows["sex"].fillna("unknown").rename("")
    sizes = sex.value_counts()
    present = [one for one in SEX_COLOURS if one in sizes]
    labels = {one: f"{SEXES.get(one, 'sex unknown')}, n = {sizes[one]:,}" for one in present}
    palette = {labels[one]: SEX_COLOURS[one] for one in present}
    return {"hue": sex.map(labels), "palette": palette, "hue_order": list(palette)}


def draw_picture(axes: plt.Axes, pixels: np.ndarray, title: str = "") -> None:
    """A radiograph in all its grey levels, without axes."""
    axes.imshow(pixels, vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=8, fontweight="normal")


def draw_points(
    axes: plt.Axes, scores: pd.DataFrame, names: list[str], shift: float = 0.0, **look: object
) -> None:
    """`value` of each row as a point with its interval, from the top down, the names at the left.

    shift: of the points, in rows, so that several can be drawn beside each other.
    """
    value, lower, upper = (scores[key].to_numpy(float) for key in ("value", "lower", "upper"))
    places = np.arange(len(scores))
    # An interval may be missing, and Wilson's of a share of 1 ends a rounding error below it.
    bars = np.fmax([value - lower, upper - value], 0)
    axes.errorbar(value, places + shift, xerr=bars, fmt="o", markersize=4, capsize=2, **look)
    axes.set(yticks=places, yticklabels=names, ylim=(max(len(scores), 1) - 0.5, -0.5))
