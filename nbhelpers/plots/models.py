"""Tables and plots of a search: its trials, what mattered in them, how the best ones learned.

Functions that plot return a figure and its alternative text.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from scipy import stats

from nbhelpers.models.search import completed
from nbhelpers.plots.style import COLOURS, INK, LINE, SOFT
from nbhelpers.plots.tables import hyperparameter_name

# What notebook 02 searches, in the order in which it is shown.
SEARCHED = ("blocks", "first_width", "convolutions", "dropout", "dense_units", "sex_units")
SEARCHED += ("learning_rate", "weight_decay")
LOGARITHMIC = ["first_width", "dense_units", "sex_units", "learning_rate", "weight_decay"]
MOST_MARKS = 6  # values on an axis; of more the lowest and the highest stand there
FEWEST_TRIALS = 8  # below, even the strongest rank correlation is hardly told from chance
PERMUTATIONS = 5000
LOSS_COLOURS = LinearSegmentedColormap.from_list("loss", [COLOURS[0], "#8fb3c4", "#dedbd5"])


def trials_table(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials for the page, best first, those without a result last."""
    ordered = trials.sort_values("tuning_loss", kind="stable", na_position="last")
    rows = [
        {
            "trial": row.trial,
            "tuning loss": "–" if pd.isna(row.tuning_loss) else f"{row.tuning_loss:.2f}",
            "blocks": f"{row.blocks} from {row.first_width} channels",
            "convolutions": row.convolutions,
            "dense + sex units": f"{row.dense_units} + {row.sex_units}",
            "dropout": f"{row.dropout:.2f}",
            "learning rate": f"{row.learning_rate:.1e}",
            "weight decay": f"{row.weight_decay:.1e}",
            "weights": f"{row.weights:,}" if row.weights else "–",
            "epochs": (f"{row.until_epoch - row.epochs} + " if row.goes_on_from else "")
            + (f"{row.epochs}" if row.epochs else "–"),
            "minutes": "–" if pd.isna(row.seconds) else f"{row.seconds / 60:.1f}",
            "note": row.reason or (f"goes on from {row.goes_on_from}" if row.goes_on_from else ""),
        }
        for row in ordered.itertuples()
    ]
    table = pd.DataFrame(rows).set_index("trial")
    return table if table["note"].any() else table.drop(columns="note")


def parallel_coordinates(trials: pd.DataFrame, unit: str) -> tuple[Figure, str]:
    """A line a trial through its values and its tuning loss; the best one is emphasised.

    Axes run from the lowest to the highest value tried. Lines that share a value are drawn slightly
    apart.
    """
    shown = completed(trials)[["trial", *SEARCHED, "tuning_loss"]].set_index("trial")
    scaled = shown.astype(float)
    scaled[LOGARITHMIC] = np.log(scaled[LOGARITHMIC])
    low, span = scaled.min(), scaled.max() - scaled.min()
    heights = ((scaled - low) / span).fillna(0.5)
    apart = pd.Series(np.linspace(-0.018, 0.018, len(shown)), shown.index)
    ranks = heights["tuning_loss"].rank(pct=True)
    figure, axes = plt.subplots(figsize=(7.5, 4.2))
    for trial in shown.index[:0:-1]:
        line = heights.loc[trial].to_numpy() + apart[trial]
        axes.plot(line, color=LOSS_COLOURS(ranks[trial]), linewidth=1.3, alpha=0.9)
    best = {"color": COLOURS[1], "linewidth": 2.6, "marker": "o", "markersize": 5, "zorder": 4}
    axes.plot(heights.iloc[0].to_numpy(), label=f"best: trial {shown.index[0]}", **best)
    look = {"fontsize": 8, "va": "center", "zorder": 5}
    look |= {"path_effects": [withStroke(linewidth=2.5, foreground="white")]}
    for place, name in enumerate(shown):
        axes.axvline(place, color=SOFT, linewidth=0.8, zorder=2)
        marks = dict(zip(shown[name], heights[name], strict=True))
        values = [*marks] if len(marks) <= MOST_MARKS else [min(marks), max(marks)]
        for value in values:
            axes.text(place + 0.06, marks[value], f"{value:.3g}", **look)
    names = [*map(hyperparameter_name, SEARCHED), f"tuning loss, {unit}"]
    two_lines = [f"{name} ".replace(" ", "\n", 1) for name in names]
    axes.set_xticks(range(len(names)), two_lines, fontsize=9)
    axes.set(xlim=(-0.15, len(names) - 0.45), ylim=(-0.06, 1.06), yticks=[])
    axes.tick_params(axis="x", length=0, labelcolor=INK)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99))
    axes.text(0, 1.11, "a line is a trial: the darker, the lower its loss", color=SOFT)
    *values, loss = shown.iloc[0]
    each = ", ".join(f"{name} {value:.3g}" for name, value in zip(names, values, strict=False))
    alt = f"{len(shown)} trials, a line each, the darker the lower the tuning loss. The best, "
    return figure, f"{alt}{loss:.2f} {unit}: {each}."


def comparable(trials: pd.DataFrame) -> pd.DataFrame:
    """Completed trials from random weights that were to end at the same epoch."""
    fresh = completed(trials).query("goes_on_from == ''")
    return fresh[fresh["until_epoch"].isin(fresh["until_epoch"].mode()[:1])]


def hyperparameter_importance(trials: pd.DataFrame) -> tuple[Figure, str]:
    """Spearman's rank correlation of each hyperparameter with the tuning loss.

    Of trials that are `comparable`. The band holds 95 % of the largest correlations, over all
    hyperparameters, that shuffled losses give: what lies inside cannot be told from chance. A best
    value in the middle does not show.
    """
    names = [name for name in SEARCHED if trials[name].nunique() > 1]
    n = len(trials)
    ranks = stats.zscore(stats.rankdata(trials[[*names, "tuning_loss"]], axis=0), axis=0)
    values, loss = ranks[:, :-1], ranks[:, -1]
    shuffled = np.random.default_rng(0).permuted(np.tile(loss, (PERMUTATIONS, 1)), axis=1)
    chance = float(np.quantile(np.abs(shuffled @ values / n).max(axis=1), 0.95))
    found = pd.Series(values.T @ loss / n, index=names)
    found = found.reindex(found.abs().sort_values().index)
    clear = found.abs() > chance
    figure, axes = plt.subplots(figsize=(7.0, 3.6))
    axes.axvspan(-chance, chance, color=LINE, alpha=0.6, zorder=0, label="may be chance")
    colours = np.where(clear, COLOURS[0], COLOURS[7])
    axes.hlines(range(len(found)), 0, found, color=colours, linewidth=3)
    axes.scatter(found, range(len(found)), color=colours, s=45, zorder=3)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.set_yticks(range(len(found)), [hyperparameter_name(name) for name in found.index])
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set(xlim=(-1, 1), ylim=(-0.6, len(found) - 0.4), title=f"What mattered, {n} trials")
    axes.set_xlabel(
        "rank correlation with the tuning loss\n← more is better   ·   less is better →"
    )
    axes.grid(axis="y", visible=False)
    axes.set_xticks([-1, -0.5, 0, 0.5, 1])
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 0.99))
    found, clear = found[::-1].rename(hyperparameter_name), clear[::-1].to_numpy()
    each = ", ".join(f"{name} {value:+.2f}" for name, value in found.items())
    beyond = ", ".join(found.index[clear]) or "none"
    alt = f"Rank correlation with the tuning loss over {n} trials: {each}. Beyond chance: {beyond}."
    return figure, alt


def trial_curves(curves: pd.DataFrame, unit: str) -> tuple[Figure, str]:
    """Tuning loss by epoch of the best trials, as `search.histories` gives them."""
    figure, axes = plt.subplots(figsize=(7.0, 3.4))
    lowest = curves.groupby("trial")["tuning_loss"].min().sort_values()
    labels = {trial: f"trial {trial}: {loss:.2f}" for trial, loss in lowest.items()}
    trials = {"hue": curves["trial"].map(labels).rename(""), "hue_order": list(labels.values())}
    sns.lineplot(curves, x="epoch", y="tuning_loss", marker="o", ax=axes, **trials)
    last = curves["epoch"].max() + 0.5
    axes.set(xlabel="epoch", ylabel=f"tuning loss, {unit}", xlim=(0.5, last))
    axes.xaxis.get_major_locator().set_params(integer=True)
    each = ", ".join(f"{trial} {loss:.2f}" for trial, loss in lowest.items())
    return figure, f"Tuning loss by epoch of the best trials; their lowest: {each}."
