"""Tables and plots of a search: its trials, what mattered in them, how the best ones learnt.

Functions that plot return a figure and its alternative text.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from nbhelpers.models.search import completed
from nbhelpers.plots import style
from nbhelpers.plots.tables import hyperparameter_name

# What notebook 02 searches, in the order in which it is shown.
SEARCHED = ("blocks", "first_width", "convolutions", "dropout", "dense_units", "sex_units")
SEARCHED += ("learning_rate", "weight_decay")
FEWEST_TRIALS = 8  # below, even the strongest rank correlation may well be chance
PERMUTATIONS = 5000


def trials_table(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials for the page, best first, those without a result last."""
    ordered = trials.sort_values("tuning_loss", kind="stable", na_position="last")
    rows = [
        {
            "trial": row.trial,
            "tuning loss": "–" if pd.isna(row.tuning_loss) else f"{row.tuning_loss:.2f}",
            "blocks × convolutions": f"{row.blocks} × {row.convolutions} from {row.first_width}",
            "dense + sex": f"{row.dense_units} + {row.sex_units}",
            "dropout": f"{row.dropout:.2f}",
            "rate": f"{row.learning_rate:.1e}",
            "decay": f"{row.weight_decay:.1e}",
            "weights": f"{row.weights:,}" if row.weights else "–",
            "epochs": (f"{row.until_epoch - row.epochs} + " if row.goes_on_from else "")
            + (f"{row.epochs}" if row.epochs else "–"),
            "minutes": "–" if pd.isna(row.seconds) else f"{row.seconds / 60:.1f}",
            "note": row.reason or (f"continues {row.goes_on_from}" if row.goes_on_from else ""),
        }
        for row in ordered.itertuples()
    ]
    table = pd.DataFrame(rows).set_index("trial")
    return table if table["note"].any() else table.drop(columns="note")


def comparable(trials: pd.DataFrame) -> pd.DataFrame:
    """Completed trials from random weights that were to end at the same epoch."""
    fresh = completed(trials).query("goes_on_from == ''")
    return fresh[fresh["until_epoch"].isin(fresh["until_epoch"].mode()[:1])]


def hyperparameter_importance(trials: pd.DataFrame) -> tuple[Figure, str]:
    """Spearman's rank correlation of each hyperparameter with the tuning loss.

    Of trials that are `comparable`. The band holds 95 % of the largest correlations, over all
    hyperparameters, that shuffled losses give: what lies inside may be chance. A best
    value in the middle of the range does not show.
    """
    names = [name for name in SEARCHED if trials[name].nunique() > 1]
    n = len(trials)
    ranks = stats.zscore(stats.rankdata(trials[[*names, "tuning_loss"]], axis=0), axis=0)
    values, loss = ranks[:, :-1], ranks[:, -1]
    shuffled = np.random.default_rng(0).permuted(np.tile(loss, (PERMUTATIONS, 1)), axis=1)
    chance = float(np.quantile(np.abs(shuffled @ values / n).max(axis=1), 0.95))
    found = pd.Series(values.T @ loss / n, index=names)
    found = found.reindex(found.abs().sort_values(ascending=False).index)
    found = found.rename(hyperparameter_name)
    label = "rank correlation with the tuning loss\n← more is better   ·   less is better →"
    figure, axes = style.dots(found.to_frame("value"), found.index, label, line=0)
    axes.axvspan(-chance, chance, color=style.LINE, alpha=0.6, zorder=0)
    axes.set(xlim=(-1, 1), title=f"What mattered in {n} trials; inside the band it may be chance")
    each = ", ".join(f"{name} {value:+.2f}" for name, value in found.items())
    beyond = ", ".join(found.index[found.abs() > chance]) or "none"
    alt = f"Rank correlation with the tuning loss over {n} trials: {each}. Beyond chance: {beyond}."
    return figure, alt


def trial_curves(curves: pd.DataFrame, unit: str) -> tuple[Figure, str]:
    """Tuning loss by epoch of the best trials, as `search.histories` gives them."""
    figure, axes = plt.subplots(figsize=(7.0, 3.4))
    lowest = curves.groupby("trial")["tuning_loss"].min().sort_values()
    for (trial, loss), marker in zip(lowest.items(), style.MARKERS, strict=False):
        part = curves[curves["trial"] == trial]
        label = f"trial {trial}: {loss:.2f}"
        axes.plot(part["epoch"], part["tuning_loss"], marker=marker, markersize=5, label=label)
    axes.set(xlabel="epoch", ylabel=f"tuning loss, {unit}")
    style.whole_steps(axes, curves["epoch"])
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)  # above, clear of the curves
    each = ", ".join(f"trial {trial} {loss:.2f}" for trial, loss in lowest.items())
    return figure, f"Tuning loss, {unit}, by epoch of the best trials. Their lowest: {each}."
