"""Figures: one plain style, and a way to show them that never forgets the alternative text."""

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS_DPI = 96  # a CSS pixel is 1/96 inch, so a figure of 7 inches is 672 pixels wide
SHARPNESS = 2  # drawn pixels a CSS pixel
INK, SOFT, LINE = "#1d2429", "#5b666e", "#d9d6d0"
# Okabe and Ito's colours, told apart with every common kind of colour vision.
COLOURS = ("#1f5f7a", "#d1792b", "#4a9d7f", "#a6548c", "#8a6d3b", "#5b8fd1", "#b8433a", "#7d858b")
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
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "legend.frameon": False,
    "image.cmap": "gray",
    "lines.linewidth": 1.8,
}


def use_style() -> None:
    """Make the suite's style matplotlib's default in this process."""
    import matplotlib.pyplot as plt
    from cycler import cycler

    plt.rcParams.update(STYLE)
    plt.rcParams["axes.prop_cycle"] = cycler(color=COLOURS)


def show(figure: "Figure", alt: str) -> None:
    """Show a figure in the notebook and on its page, then close it.

    alt: what a reader who does not see the figure needs to know, one or two sentences. It travels
    in the output's metadata. The PNG has twice the pixels that it is shown with. Raises ValueError
    without it.
    """
    import matplotlib.pyplot as plt
    from IPython.display import Image, display

    if not alt.strip():
        raise ValueError("figures.show needs alt: say in a sentence what the figure shows.")
    drawn = png(figure)
    width = int.from_bytes(drawn[16:20], "big") // SHARPNESS  # from the PNG's header
    plt.close(figure)
    # Not `Image(alt=...)`: Kaggle and Colab have IPython 7.34, which does not know it.
    display(Image(drawn, format="png", width=width, metadata={"alt": " ".join(alt.split())}))


def png(figure: "Figure") -> bytes:
    """The figure as a PNG, cut to what is drawn."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=CSS_DPI * SHARPNESS, bbox_inches="tight")
    return buffer.getvalue()


def findings(*lines: str) -> None:
    """Show lines of Markdown: what a notebook found, with its numbers filled in."""
    from IPython.display import Markdown, display

    display(Markdown("\n".join(lines)))
