"""Figures of where models err: by group, agreement, corrupted radiographs.

Each function returns a figure and its alternative text, except those called `show_...`.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from nbhelpers.bias.corruptions import GROWTH
from nbhelpers.evaluation.scores import ALL, FEWEST
from nbhelpers.plots import style
from nbhelpers.plots.tables import METRICS, corruption_words, group_name, model_name

COLUMNS = 3  # of the panels of corruptions
HIGHEST = 5  # times the smallest MAE is where panels end


def by_group(table: pd.DataFrame, metrics: tuple[str, ...]) -> tuple[Figure, str]:
    """Metrics of `subgroups.error_table` by group, a panel each, with 95 % intervals.

    The score of all cases is a line; girls and boys have their own colour and marker.
    """
    table = table[table["metric"].isin(metrics) & table["value"].notna()]
    groups = table.drop_duplicates("group").set_index("group")["n"]
    names = [f"{group_name(group)}, n = {int(n):,}" for group, n in groups.items()]
    sexes = groups.index.to_series().str.partition(",")[0]
    size = (7.4, 1.0 + 0.26 * max(len(groups), 2))
    figure, panels = plt.subplots(1, len(metrics), figsize=size, sharey=True)
    for axes, metric in zip(panels, metrics, strict=True):
        part = table[table["metric"] == metric].set_index("group").reindex(groups.index)
        for sex in ("", *style.SEX_COLOURS):
            shown = part.where(sexes == sex if sex else ~sexes.isin([*style.SEX_COLOURS]))
            colour, marker = style.SEX_COLOURS.get(sex, style.INK), style.SEX_MARKERS.get(sex, "D")
            style.draw_points(axes, shown, names, color=colour, marker=marker)
        axes.axvline(part["value"].get(ALL, np.nan), color=style.GREY, linewidth=1)
        axes.set_xlabel(METRICS[metric].heading)
    shown = " and ".join(METRICS[metric].heading for metric in metrics)
    alt = f"Errors by group of the test split: {shown}, with 95 % intervals. Lines mark the "
    return figure, f"{alt}scores of all cases; groups of fewer than {FEWEST} cases are left out."


def show_bland_altman(errors: pd.DataFrame, agreement: pd.DataFrame) -> None:
    """Predicted minus true against their mean, with mean difference and limits of agreement.

    `agreement`: `metric` (`mean_difference`, `lower_limit`, `upper_limit`) and `value`.
    """
    figure, axes = plt.subplots(figsize=(7.0, 4.2))
    middle = (errors["age_months"] + errors["predicted_months"]) / 2
    style.cases_by_sex(axes, middle, errors["error_months"], errors)
    lines = agreement.set_index("metric")["value"]
    around = [withStroke(linewidth=2.5, foreground="white")]
    for metric, value in lines[["mean_difference", "lower_limit", "upper_limit"]].dropna().items():
        line = "-" if metric == "mean_difference" else "--"
        axes.axhline(value, color=style.INK, linewidth=1, linestyle=line)
        named = f"{metric.replace('_', ' ')} {value:+.1f}"
        axes.text(239, value, named, ha="right", va="bottom", fontsize=9, path_effects=around)
    style.year_axis(axes)
    axes.set_xlabel("mean of predicted and true bone age, months and years")
    axes.set_ylabel(METRICS["signed_error"].heading)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)  # above, clear of the limits
    style.show(
        figure,
        f"Predicted minus true bone age against the mean of both, {len(errors):,} test cases: mean "
        f"{lines['mean_difference']:+.1f} months; if differences are normally distributed, "
        f"95 % lie between {lines['lower_limit']:+.1f} and {lines['upper_limit']:+.1f} months."
        if len(errors) > 1
        else "Predicted minus true months of one case: no limits of agreement.",
    )


def stress_curves(table: pd.DataFrame) -> tuple[Figure, str]:
    """MAE against the strength of each corruption, of `stress.stress`: one panel per kind.

    One line per model; a model alone has its 95 % interval too, where several would hide each
    other.
    A dotted line marks where its error has grown by `GROWTH`; harm grows to the right.
    Panels end at `HIGHEST` times the smallest MAE, which a line may exceed: one
    corruption that harms far more than the others would flatten them.
    """
    kinds, models = table["kind"].unique(), table["model"].unique()
    rows = -(-len(kinds) // COLUMNS)
    figure, grid = plt.subplots(
        rows, COLUMNS, figsize=(7.4, 1.8 * rows + 0.4), sharey=True, squeeze=False
    )
    panels = grid.ravel()
    for axes, (kind, of_kind) in zip(panels, table.groupby("kind", sort=False), strict=False):
        for model, part in of_kind.groupby("model", sort=False):
            limit, part = (1 + GROWTH) * part["mae"].iloc[0], part.sort_values("strength")
            look = style.model_look(model) | {"markersize": 4, "linewidth": 1.4}
            axes.plot(part["strength"], part["mae"], label=model_name(model), **look)
            axes.axhline(limit, color=look["color"], linewidth=0.8, linestyle=":")
            if len(models) == 1:
                ends = part["lower"], part["upper"]
                axes.fill_between(part["strength"], *ends, alpha=0.2, color=look["color"])
        axes.set_title(kind, fontsize=10)
        axes.set_xlabel(of_kind["unit"].iloc[0], fontsize=9)
        axes.tick_params(labelsize=9)
        if of_kind["strength"].idxmax() == of_kind.index[0]:  # less is worse, as in JPEG's quality
            axes.invert_xaxis()
        if of_kind["strength"].nunique() == 2:
            axes.set_xticks(sorted(of_kind["strength"].unique()), ["off", "on"])
    ends = table["upper" if len(models) == 1 else "mae"].max(), HIGHEST * table["mae"].min()
    panels[0].set_ylim(0, 1.05 * min(ends))
    for axes in panels[len(kinds) :]:
        axes.set_axis_off()
    figure.supylabel("mean absolute error, months", fontsize=10)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=3)
    worst = table.loc[table["mae"].idxmax()]
    bands = ", with 95 % intervals" if len(models) == 1 else ""
    return figure, (
        f"Mean absolute error of {', '.join(names)} on test radiographs under {len(kinds)} kinds "
        f"of corruption{bands}; dotted: a tenth above the error without. Highest: "
        f"{table['mae'].max():.1f} months, {model_name(worst['model'])} under "
        f"{corruption_words(worst['kind'], worst['strength'], worst['unit'])}."
    )
