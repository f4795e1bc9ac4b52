"""Figures: one plain style, what several of them draw, and a way to show them with their text.

A figure never goes without its alternative text: every function of `plots` that draws returns both.
"""

import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import PIL.Image
import seaborn as sns
from cycler import cycler
from IPython.display import Image, display
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from nbhelpers.plots.tables import MODELS, SEXES

CSS_DPI = 96  # a CSS pixel is 1/96 inch, so a figure of 7 inches is 672 pixels wide
SHARPNESS = 1.5  # drawn pixels a CSS pixel
PNG_COLOURS = 128  # of a figure: a third of the bytes, and 99 of 100 pixels move by 3 % at most
INK, SOFT, LINE = "#1d2429", "#5b666e", "#d9d6d0"
# Apart with normal vision and without red or green receptors (Machado, Oliveira and Fernandes,
# IEEE Trans. Vis. Comput. Graph. 2009;15:1291-1298): at least 16 in CIELAB, where black to white
# is 100. Nothing is conveyed by colour alone.
COLOURS = ("#1f5f7a", "#d1792b", "#8b3fc6", "#ca1625", "#2b1d7a", "#5a1f1a", "#e363e3", "#7d858b")
GREY, OTHER = COLOURS[7], COLOURS[2]  # what is compared with, and what stands alongside
SEX_COLOURS = {"female": COLOURS[1], "male": COLOURS[0], "unknown": GREY}
SEX_MARKERS = {"female": "o", "male": "^", "unknown": "s"}
MODEL_COLOURS, MARKERS = COLOURS[2:7], "osD^vP*"  # a model has a pair of both
HOLLOW = ("stage", "(derived)")  # what follows the names of models that are drawn hollow
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
LINE_STYLES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
plt.rcParams["axes.prop_cycle"] = cycler(color=MODEL_COLOURS) + cycler(linestyle=LINE_STYLES)


def show(figure: Figure, alt: str) -> None:
    """Show a figure in the notebook and on its page, then close it.

    alt: what a reader who does not see the figure needs to know, one or two sentences. It travels
    in the output's metadata. The PNG has `SHARPNESS` times the pixels that it is shown with.
    Raises ValueError without alt.
    """
    if not alt.strip():
        raise ValueError("style.show needs alt: say in a sentence what the figure shows.")
    drawn = png(figure)
    width = round(int.from_bytes(drawn[16:20], "big") / SHARPNESS)  # from the PNG's header
    plt.close(figure)
    # Not `Image(alt=...)`: Kaggle and Colab have IPython 7.34, which does not know it.
    display(Image(drawn, format="png", width=width, metadata={"alt": " ".join(alt.split())}))


def png(figure: Figure) -> bytes:
    """The figure as a PNG of `PNG_COLOURS`, cut to what is drawn."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=CSS_DPI * SHARPNESS, bbox_inches="tight")
    # Not the default, median cut: a heat map's few bright pixels would lose their colours.
    few = {"method": PIL.Image.Quantize.MAXCOVERAGE, "kmeans": 1, "dither": PIL.Image.Dither.NONE}
    image = PIL.Image.open(drawn).convert("RGB").quantize(PNG_COLOURS, **few)
    image.save(small, format="png", optimize=True)
    return small.getvalue()


def year_axis(axes: plt.Axes) -> None:
    """Ticks of a horizontal axis in months every two years, with the years below them."""
    ticks = BINS_MONTHS[::2]
    axes.set_xticks(ticks, [f"{tick}\n{tick // 12} y" for tick in ticks])
    axes.set(xlim=(0, 240), xlabel="bone age, months and years")


def whole_steps(axes: plt.Axes, steps: pd.Series) -> None:
    """A horizontal axis of epochs, trials or rounds: whole numbers alone, with room for one."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    room = max(0.5, 0.02 * len(steps))
    axes.set_xlim(steps.min() - room, steps.max() + room)


def by_sex(rows: pd.DataFrame) -> dict[str, object]:
    """How seaborn shows the sexes of the rows: their colours, and names as "girls, n = 900"."""
    sex = rows["sex"].fillna("unknown").rename("")
    sizes = sex.value_counts()
    present = [one for one in SEX_COLOURS if one in sizes]
    labels = {one: f"{SEXES.get(one, 'sex unknown')}, n = {sizes[one]:,}" for one in present}
    palette = {labels[one]: SEX_COLOURS[one] for one in present}
    return {"hue": sex.map(labels), "palette": palette, "hue_order": list(palette)}


def cases_by_sex(
    axes: plt.Axes, months: pd.Series, values: pd.Series, rows: pd.DataFrame, few: int = 200
) -> None:
    """One point per case, with the colour and the marker of its sex; faint where they are many.

    few: up to so many points are large and hardly transparent.
    """
    look = {"s": 12, "alpha": 0.4} if len(rows) > few else {"s": 26, "alpha": 0.75}
    look |= {"linewidth": 0, **by_sex(rows)}
    present = set(rows["sex"].fillna("unknown"))
    look["markers"] = [marker for sex, marker in SEX_MARKERS.items() if sex in present]
    look |= {"style": look["hue"], "style_order": look["hue_order"]}
    sns.scatterplot(x=months, y=values, ax=axes, **look)


def model_look(model: str) -> dict[str, object]:
    """The colour and marker that a model has in every figure; of stages it is hollow and broken.

    model: as in files, also with what follows: "cnn", "cnn (derived)", "cnn stage".
    """
    base, _, of = model.partition(" ")
    # Models of one's own follow in an order of their names' letters.
    place = [*MODELS].index(base) if base in MODELS else sum(base.encode())
    look = {"color": MODEL_COLOURS[place % len(MODEL_COLOURS)]}
    look |= {"marker": MARKERS[place % len(MARKERS)], "linestyle": "-", "markersize": 5}
    return look | ({"markerfacecolor": "white", "linestyle": "--"} if of in HOLLOW else {})


def draw_picture(axes: plt.Axes, pixels: np.ndarray, title: str = "") -> None:
    """A radiograph in all its grey levels, without axes."""
    axes.imshow(pixels, vmin=0, vmax=255)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=8, fontweight="normal")


def draw_points(
    axes: plt.Axes, scores: pd.DataFrame, names: Sequence[str], shift: float = 0.0, **look: object
) -> None:
    """`value` of each row as a point, from the top down, the names at the left.

    With its interval where there are `lower` and `upper`.

    shift: of the points, in rows, so that several can be drawn side by side.
    look: as of `errorbar`; without, dark discs.
    """
    value, lower, upper = scores.reindex(columns=["value", "lower", "upper"]).to_numpy(float).T
    places = np.arange(len(scores))
    # An interval may be missing, and Wilson's of a share of 1 ends a rounding error below it.
    bars = np.fmax([value - lower, upper - value], 0)
    look = {"color": INK, "marker": "o", "markersize": 5, "capsize": 2, "elinewidth": 1.4} | look
    axes.errorbar(value, places + shift, xerr=bars, **look | {"linestyle": "none"})
    axes.set(yticks=places, yticklabels=names, ylim=(max(len(scores), 1) - 0.5, -0.5))
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.grid(axis="y", visible=False)


def dots(
    scores: pd.DataFrame, names: Sequence[str], label: str, line: float = np.nan
) -> tuple[Figure, plt.Axes]:
    """A figure of `draw_points` alone, over an axis called `label`, and a line to compare with."""
    figure, axes = plt.subplots(figsize=(7.0, 1.0 + 0.29 * len(scores)))
    draw_points(axes, scores, names)
    axes.axvline(line, color=GREY, linewidth=1)
    axes.set_xlabel(label)
    return figure, axes
