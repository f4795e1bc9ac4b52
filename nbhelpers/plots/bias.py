"""Figures of for whom models err: groups, agreement, corrupted radiographs.

Each function returns a figure and its alternative text, but for those called `show_...`.
"""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from nbhelpers.evaluation.scores import ALL
from nbhelpers.plots.style import COLOURS, by_sex, draw_points, show, year_axis
from nbhelpers.plots.tables import METRICS, corruption_words, model_name, number

COLUMNS = 4  # of the panels of corruptions
MARKERS = "os^Dv<>P"  # one a model, as colours are
HIGHEST = 5  # times the smallest MAE, up to which panels show


def by_group(table: pd.DataFrame, metric: str) -> tuple[Figure, str]:
    """A metric of `subgroups.error_table` by group, with 95 % intervals; all cases as a line."""
    label = METRICS[metric].heading
    part = table[(table["metric"] == metric) & table["value"].notna()]
    figure, axes = plt.subplots(figsize=(7.0, 1.0 + 0.26 * len(part)))
    names = [f"{row.group}, n = {int(row.n):,}" for row in part.itertuples()]
    draw_points(axes, part, names, color=COLOURS[0])
    axes.set_xlabel(label)
    for value in part.loc[part["group"] == ALL, "value"]:
        axes.axvline(value, color=COLOURS[7], linewidth=1)
    named = part[part["group"] != ALL].sort_values("value")
    if named.empty:
        return figure, f"{label} by group: every group is too small."
    low, high = (
        f"{number(row['value'], metric)} ({row['group']})"
        for _, row in named.iloc[[0, -1]].iterrows()
    )
    return figure, f"{label} by group, from {low} to {high}."


def show_bland_altman(errors: pd.DataFrame, agreement: pd.DataFrame) -> None:
    """Predicted minus true over their mean, with the mean difference and the limits of agreement.

    `agreement`: `metric` (`mean_difference`, `lower_limit`, `upper_limit`) and `value`.
    """
    figure, axes = plt.subplots(figsize=(7.0, 4.2))
    middle = (errors["age_months"] + errors["predicted_months"]) / 2
    look = {"s": 9, "alpha": 0.4, "linewidth": 0}
    sns.scatterplot(x=middle, y=errors["error_months"], ax=axes, **look, **by_sex(errors))
    lines = agreement.set_index("metric")["value"]
    for value in lines[["mean_difference", "lower_limit", "upper_limit"]].dropna():
        axes.axhline(value, color=COLOURS[7], linewidth=1)
        axes.text(240, value, f"{value:+.1f}", ha="right", va="bottom", fontsize=8)
    year_axis(axes)
    axes.set_xlabel("mean of predicted and true, months and years")
    axes.set_ylabel(METRICS["signed_error"].heading)
    axes.legend(markerscale=2, loc="lower left")
    show(
        figure,
        f"Predicted minus true months: mean {lines['mean_difference']:+.1f}, 95 % of the cases "
        f"between {lines['lower_limit']:.1f} and {lines['upper_limit']:.1f}."
        if len(errors) > 1
        else "Predicted minus true months of one case: no limits of agreement.",
    )


def stress_curves(table: pd.DataFrame) -> tuple[Figure, str]:
    """MAE against the strength of each corruption, of `stress.stress`: a panel a kind.

    A line a model; of one model alone with its 95 % interval, where several would hide each other.
    Panels end at `HIGHEST` times the smallest MAE, which a line may leave: one harm that is beyond
    all others would flatten them.
    """
    kinds, models = table["kind"].unique(), table["model"].unique()
    rows = -(-len(kinds) // COLUMNS)
    figure, grid = plt.subplots(
        rows, COLUMNS, figsize=(9.2, 2.0 * rows + 0.4), sharey=True, squeeze=False
    )
    panels = grid.ravel()
    for axes, (kind, of_kind) in zip(panels, table.groupby("kind", sort=False), strict=False):
        for number_of, (model, part) in enumerate(of_kind.groupby("model", sort=False)):
            part = part.sort_values("strength")
            look = {"color": COLOURS[number_of % len(COLOURS)], "marker": MARKERS[number_of % 8]}
            look |= {"markersize": 3, "linewidth": 1.2, "label": model_name(model)}
            axes.plot(part["strength"], part["mae"], **look)
            if len(models) == 1:
                ends = part["lower"], part["upper"]
                axes.fill_between(part["strength"], *ends, alpha=0.15, color=COLOURS[0])
        axes.set_title(kind, fontsize=9)
        axes.set_xlabel(of_kind["unit"].iloc[0], fontsize=8)
        axes.tick_params(labelsize=8)
        if of_kind["strength"].nunique() == 2:
            axes.set_xticks(sorted(of_kind["strength"].unique()), ["off", "on"])
    ends = table["upper" if len(models) == 1 else "mae"].max(), HIGHEST * table["mae"].min()
    panels[0].set_ylim(0, 1.05 * min(ends))
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    for axes in grid[:, 0]:
        axes.set_ylabel("MAE, months", fontsize=8)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=min(len(names), 6), fontsize=9)
    worst = table.loc[table["mae"].idxmax()]
    return figure, (
        f"Mean absolute error of {', '.join(names)} on corrupted radiographs, {len(kinds)} kinds; "
        f"the largest is {worst['mae']:.1f} months, {model_name(worst['model'])} under "
        f"{corruption_words(worst['kind'], worst['strength'], worst['unit'])}."
    )
