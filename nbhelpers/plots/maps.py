"""Heat maps on a page: over radiographs, on the originals, and how far they can be trusted.

Functions called `show_...` show figures with their alternative text, and tables. Networks go by
their names in files, "cnn age".
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from nbhelpers import metrics
from nbhelpers.evaluation import scores as scoring
from nbhelpers.explain import checks, regions, shortcuts
from nbhelpers.explain.material import Explained
from nbhelpers.explain.shortcuts import MARKER, PLACES
from nbhelpers.images.geometry import affine_of
from nbhelpers.images.radiograph import read_image
from nbhelpers.plots import style, tables
from nbhelpers.plots.tables import network_name

TINTS = dict(zip(PLACES, (style.COLOURS[1], "#56b4e9", style.COLOURS[2]), strict=True))
PLACE_VEIL = 0.5  # how much of the radiograph a tint hides
HEAT = "plasma"  # its steps look equal, and it has no middle: maps have no sign
LEVELS, VEIL = 8, 0.75  # steps of a map, and how much of the radiograph the highest hides
A_ROW = 5  # radiographs of a figure
METHODS = {"hires_cam": "HiResCAM", "grad_cam": "Grad-CAM", "grad_cam_pp": "Grad-CAM++"}
Verdict = tuple[bool, str]  # whether maps pass a check, and what it found: a sentence, or ""


def titles(errors: pd.DataFrame, stage_names: list[str]) -> np.ndarray:
    """Stage, age, predicted age and error of rows of `scores.case_errors`, texts `[n]`."""
    stages = ["" if pd.isna(stage) else stage_names[int(stage)] for stage in errors["stage"]]
    return np.array(
        [
            f"{stage}\n{row.age_months / 12:.1f} years, predicted\n"
            f"{row.predicted_months / 12:.1f} ({row.error_months:+.0f} months)"
            for stage, row in zip(stages, errors.itertuples(), strict=True)
        ]
    )


def failures_first(folder: Path, model: str, verdicts: list[Verdict]) -> str:
    """The answer: what the checks found, failures first.

    First of all, that a model of ages may be no better than a predictor that looks at no picture.
    """
    scores = scoring.evaluate(folder, model, "age")
    words = [f"{tables.model_name(model)} has a {tables.error_words(scores, model, 'age')}."]
    if not words[0].endswith((f"{tables.NO_BETTER}.", f"{tables.AS_GOOD}.")):
        words = []
    words += [found for passed, found in sorted(verdicts, key=lambda one: one[0])]
    return " ".join(words)


def show_localisation(
    local: pd.DataFrame, network: str, controls: list[str], stage_names: list[str]
) -> tuple[dict[str, pd.DataFrame], Verdict]:
    """How maps lie on ossification regions, next to maps that know nothing.

    All maps as a table; of `network` a figure by region, and a table by region and stage.

    Args:
        local: of `Explained.on_regions`, of all networks and controls.
        controls: names of the maps that know nothing of the network.

    Returns:
        By name, `regions.summarise` by map and `regions.beyond` of the network; and whether its
        maps lie on the regions clearly more than every control.
    """
    order = pd.CategoricalDtype(local["map"].unique(), ordered=True)
    summary = regions.summarise(local.astype({"map": order}), by=["map"])
    found = regions.beyond(local, network, controls)
    every = summary[summary["region"] == regions.ANY]
    own = every[every["map"] == network].set_index("metric")
    hits = 100 * every[every["metric"] == "hit"].set_index("map")["value"]
    known = hits[controls].fillna(0).idxmax()
    more = found[found["region"] == regions.ANY].assign(metric="more")
    every = pd.concat([every[every["metric"].isin(["ratio", "hit"])], more])
    every = every.assign(map=every["map"].map(network_name))
    display(_wide(every, "map", "metric", "maps on all regions together").fillna(""))
    _show_ratios(summary[summary["metric"] == "ratio"], network, controls)
    above = found.groupby("region")["lower"].min() > 0
    names = [region for region in regions.REGIONS if above.get(region, False)]
    area, chance = (f"{100 * own['value'][of]:.1f} %" for of in ("area_share", "chance"))
    beyond, n = bool(above[regions.ANY]), own["n"]["ratio"]
    words = (
        f"Ossification regions make up {area} of the hand, and their share of the map of "
        f"{network_name(network)} is {tables.score_text(own.loc['ratio'], 'ratio')} times as large "
        f"(n = {n:,}), {'' if beyond else 'not '}clearly more than in each of {len(controls)} maps "
        f"that know nothing of the network; its maximum lies in a region in {hits[network]:.1f} %, "
        f"that of the control that does so most ({known}) in {hits[known]:.1f} %."
    )
    others = [region for region in regions.REGIONS if region not in names]
    more = f"Region by region, clearly more than in all of these: {_listed(names) or 'none'}; not: "
    more += f"{_listed(others) or 'none'} (not corrected for the number of regions). "
    more += f"A random point on the hand hits a region in {chance} of cases."
    if n < regions.FEWEST:
        beyond, more = True, ""
        words = f"Ossification regions are marked in too few cases ({n:,}) to judge."
    display(Markdown(f"{words} {more}"))
    local = local[(local["map"] == network) & local["stage"].notna()]
    by_stage = regions.summarise(local, by=["stage"]).query("metric == 'ratio'")
    sizes = by_stage.groupby("stage")["n"].max()
    named = [f"{stage_names[stage]}, n = {sizes[stage]:,}" for stage in by_stage["stage"]]
    by_stage = by_stage.assign(stage=named)
    display(_wide(by_stage, "region", "stage", "energy over area, by true stage"))
    return {"localisation": summary, "beyond controls": found}, (beyond, words)


def show_places(
    network: keras.Model,
    pictures: np.ndarray,
    titles: np.ndarray,
    sex: np.ndarray,
    months: np.ndarray,
    maps: np.ndarray,
) -> tuple[pd.DataFrame, pd.DataFrame, Verdict]:
    """Where places that are not the hand are found, and what they matter: `shortcuts.examine`.

    Gives its two tables, the energy of the maps on each place and what masking the place changes;
    and whether neither maps nor error clearly hang on lead markers.
    """
    has_hand, masks, energy, masking = shortcuts.examine(network, pictures, sex, months, maps)
    pictures, titles = pictures[has_hand], titles[has_hand]
    marked = np.flatnonzero(masks[MARKER].any(axis=(1, 2)))[::A_ROW][:3]
    others = np.setdiff1d(np.arange(len(pictures)), marked)
    few = np.concatenate([marked, others[: A_ROW - len(marked)]])
    figure, (_, below) = _rows(pictures[few], titles[few], ["not the hand"])
    for row, axes in zip(few, below, strict=True):
        tinted = np.repeat(pictures[row][:, :, None] / 255, 3, axis=2)
        for place, colour in TINTS.items():
            mask = masks[place][row]
            tinted[mask] = (1 - PLACE_VEIL) * tinted[mask] + PLACE_VEIL * np.array(to_rgb(colour))
        style.draw_picture(axes, tinted)
    patches = [Patch(color=colour, label=place) for place, colour in TINTS.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), fontsize=8)
    have = [f"{place} in {masks[place][few].any(axis=(1, 2)).sum()}" for place in PLACES]
    style.show(
        figure,
        f"{len(few)} radiographs of the test split, and in colour what was found around the hand: "
        f"{', '.join(have)}.",
    )
    display(_wide(energy, "place", "metric", "where the energy of the maps lies"))
    words = {"n": "cases", "mae_before": "mean absolute error, months", "mae_after": "place masked"}
    words |= {"prediction_change": "predictions move by", "difference": "change in error"}
    display(tables.plain(masking.round(2), ["place"], words, 2).rename_axis(columns="when masked"))
    clear = masking.loc[masking["lower"] * masking["upper"] > 0, "place"]
    known = masking.loc[masking["lower"].notna(), "place"]
    words = f"Masking {_listed(clear) or 'none of these places'} clearly changes the error"
    display(Markdown(f"{words} (on enough radiographs to judge: {_listed(known) or 'none'})."))
    return energy, masking, _marker_words(energy, masking)


def _marker_words(energy: pd.DataFrame, masking: pd.DataFrame) -> Verdict:
    """Whether neither the map, over the area, nor the error clearly hangs on lead markers."""
    ratios = energy[energy["metric"] == "ratio"]
    share, change = (table.set_index("place").loc[MARKER] for table in (ratios, masking))
    if change.isna()["difference"]:
        return True, f"Lead markers were found on {change['n']:,.0f} radiographs, too few to judge."
    added = {**change, "value": change["difference"]}
    marked, changed = share["lower"] > 1, change["lower"] * change["upper"] > 0
    words = (
        f"Lead markers' share of the map is {tables.score_text(share, 'ratio')} times that of the "
        f"picture, {'' if marked else 'not '}clearly more than 1; painting them over "
        f"changes the error by {tables.score_text(added, 'difference')} months, "
        f"{'' if changed else 'not '}clearly (n = {change['n']:,.0f})."
    )
    return not (marked or changed), words


def _wide(scores: pd.DataFrame, index: str, columns: str, heading: str) -> pd.DataFrame:
    return tables.wide(scores, index, columns).rename_axis(columns=heading)


def show_overlays(pictures: np.ndarray, titles: Sequence[str], maps: dict[str, np.ndarray]) -> None:
    """Radiographs, five a figure, and below them each kind of map over them.

    Args:
        pictures: uint8 `[n, side, side]`.
        titles: of the radiographs, `[n]`.
        maps: name of a row to its maps `[n, height, width]` of any size; each is scaled to its own
            maximum.
    """
    for start in range(0, len(titles), A_ROW):
        shown = slice(start, start + A_ROW)
        figure, (_, *below) = _rows(pictures[shown], titles[shown], list(maps))
        for line, each in zip(below, maps.values(), strict=True):
            for axes, picture, heat in zip(line, pictures[shown], each[shown], strict=True):
                _veil(axes, picture, heat)
        _scale(figure)
        names = " and ".join(METHODS.get(name, network_name(name)) for name in maps)
        alt = f"{len(titles[shown])} prepared test radiographs, and over them maps of what the "
        style.show(figure, f"{alt}predictions depend on ({names}).")


def show_on_originals(one: Explained, rows: np.ndarray, maps: np.ndarray) -> None:
    """Maps of a network carried back onto the original radiographs; rows and maps `[n]`."""
    cases, geometry = one.table.iloc[rows], one.geometry.iloc[rows]
    figure, grid = plt.subplots(1, len(cases), figsize=(1.8 * len(cases) + 0.2, 3.1), squeeze=False)
    for row, axes in enumerate(grid[0]):
        pixels = read_image(Path(cases["image_path"].iloc[row]))
        size = pixels.shape[1], pixels.shape[0]
        # The affine leads from the original to the prepared picture: each original pixel asks it.
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        carried = cv2.warpAffine(maps[row], affine_of(geometry, row), size, flags=flags)
        _veil(axes, pixels, carried)
        axes.set_title(cases["case_id"].iloc[row], fontsize=8, fontweight="normal")
    _scale(figure)
    style.show(figure, f"{len(cases)} original radiographs with their maps over them.")


def show_sizes(tried: pd.DataFrame, networks: dict[str, Explained]) -> Verdict:
    """What maps of coarse and fine feature maps gain on each control, the chosen ones ringed.

    Gives whether each network has a size that gains clearly on the random map, or which have none.

    Args:
        tried: `network`, `cells` (asked for), `side` (cells per side), `against`, `value`, `lower`,
            `upper`.
        networks: by name, with the `cells` that are chosen.
    """
    chosen = {name: one.cells for name, one in networks.items()}
    tried = tried.assign(chosen=tried["cells"] == tried["network"].map(chosen))
    against = tried["against"].unique()
    figure, panels = plt.subplots(1, len(against), figsize=(7.4, 3.4), sharey=True, squeeze=False)
    sides = sorted(tried["side"].unique())
    shifts = dict(zip(networks, np.linspace(0.94, 1.06, len(networks)), strict=True))
    for axes, control in zip(panels[0], against, strict=True):
        for name, table in tried[tried["against"] == control].groupby("network", sort=False):
            table = table.assign(side=table["side"] * shifts[name])
            bars = [table["value"] - table["lower"], table["upper"] - table["value"]]
            look = style.model_look(name) | {"capsize": 2, "label": network_name(name)}
            axes.errorbar(table["side"], table["value"], bars, **look)
            ring = table[table["chosen"]]
            axes.plot(ring["side"], ring["value"], "ko", markersize=12, fillstyle="none")
        axes.set_xscale("log", base=2)
        axes.set_xticks(sides, sides)
        axes.minorticks_off()
        axes.set(xlabel="cells per side of the feature map", title=f"gain on {control}")
        axes.axhline(0, color=style.GREY, linewidth=1)
    panels[0, 0].set_ylabel("gain, a share of the control's area")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    ringed = tried[tried["chosen"] & (tried["against"] == checks.CHANCE)]
    each = [f"{network_name(row.network)} {row.side}" for row in ringed.itertuples()]
    without = ringed.loc[~(ringed["lower"] > 0), "network"].map(network_name)
    words, fails = f"Chosen, cells per side: {', '.join(each)}.", ""
    if len(without):
        fails = f"No size of feature map gains clearly on a random map for {_listed(without)}: "
        fails += "such maps prove nothing."
    alt = "Gain of maps on controls by size of the feature map, 95 % intervals; ringed: chosen."
    style.show(figure, f"{alt} {fails}")
    display(Markdown(f"{words} {fails}"))
    return not fails, fails


def show_likeness(sanity: pd.DataFrame, network: str, n: int, levels: dict[str, float]) -> str:
    """Correlation of maps with those of increasingly random networks; gives that of one in words.

    Args:
        sanity: `network`, `seed` (of the random weights), `random_share` (of the layers, from the
            top) and `value`, the mean rank correlation over the cases.
        network: the one that the words are about.
        n: the cases.
        levels: correlations with maps of yet another network, each a dotted line across.
    """
    trained = sanity.drop_duplicates("network").assign(random_share=0, value=1)
    by_share = pd.concat([trained, sanity]).groupby(["network", "random_share"])["value"]
    table = by_share.agg(["mean", "min", "max", "count"]).reset_index()
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for name, part in table.groupby("network", sort=False):
        share, look = 100 * part["random_share"], style.model_look(name)
        axes.plot(share, part["mean"], label=network_name(name), **look)
        axes.fill_between(share, part["min"], part["max"], alpha=0.2, color=look["color"])
    axes.set(xlabel="layers with random weights, from the top, %", ylabel="rank correlation")
    axes.set_ylim(-0.55, 1.05)
    axes.axhline(0, color=style.GREY, linewidth=1)
    for name, value in levels.items():
        axes.axhline(value, color=style.INK, linewidth=1.2, linestyle=":", label=name)
    figure.legend(loc="outside upper left", ncols=3)
    whole = table[table["random_share"] == 1].set_index("network")
    last, others = whole.loc[network], whole["mean"].drop(network).sort_values()[::-1]
    words = (
        f"With all weights random, the maps of {network_name(network)} have a rank correlation of "
        f"{last['mean']:.2f} with those as trained ({last['min']:.2f} to {last['max']:.2f} over "
        f"{last['count']:.0f} random initialisations, n = {n:,})"
    )
    for name, value in others[:1].items():
        words += f"; of the other networks, {network_name(name)} has the highest, {value:.2f}"
    words += "."
    alt = "Rank correlation of maps with those of increasingly random networks, means over "
    style.show(figure, f"{alt}{n:,} test cases; bands: lowest to highest random initialisation.")
    display(Markdown(words))
    return words


def show_faithfulness(
    curves: np.ndarray, names: Sequence[str], gains: pd.DataFrame, network: str
) -> Verdict:
    """Curves of one network of ages, the gains of all; and whether the one gains on all controls.

    Args:
        curves: how far predictions move, of `names` (a map and its controls), of both kinds of
            change, of cases and of steps: `[map, kind, n, steps]`.
        gains: `network`, `kind`, `against` (a control), `n`, `value`, `lower`, `upper`.
        network: whose curves they are.
    """
    kinds = list(gains["kind"].unique())
    figure, panels = plt.subplots(1, curves.shape[1], figsize=(7.4, 3.4), sharey=True)
    share = np.linspace(0, 100, curves.shape[-1])
    for axes, kind, of_kind in zip(panels, kinds, curves.swapaxes(0, 1), strict=False):
        for name, of_map, marker in zip(names, of_kind, style.MARKERS, strict=False):
            points = np.array([metrics.score_mean(values)[1:] for values in of_map.T]).T
            label = METHODS.get(name, name)
            axes.plot(share, points[0], marker=marker, markersize=4, label=label)
            axes.fill_between(share, *points[1:], alpha=0.15)
        axes.set(xlabel="pixels changed, %", title=kind)
    panels[0].set(ylabel="prediction moved by, months")
    panels[0].set_ylim(bottom=0)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    own = gains[gains["network"] == network]
    said = []
    own = own[own["kind"] != "both"].sort_values("value", kind="stable")
    for kind, rows in own.groupby("kind", sort=False):
        ways = ["clearly worse than", "clearly better than"], "not clearly different from"
        way = np.select([rows["upper"] < 0, rows["lower"] > 0], *ways)
        on = [
            f"{of} a {row['against']}, {tables.score_text(row, 'likeness')}"
            for of, (_, row) in zip(way, rows.iterrows(), strict=True)
        ]
        said.append(f"in {kind} {', and '.join(on)}")
    words = (
        f"Maps of {network_name(network)} are {'; '.join(said)} "
        f"(gain: difference between the areas under the two curves, as a share of the control's, "
        f"with its 95 % interval; n = {own.n.max()})."
    )
    alt = f"How far predictions of {network_name(network)} move as pixels change in the order of a "
    style.show(figure, f"{alt}map: means of {own.n.max()} test cases, with 95 % intervals.")
    _show_gains(gains)
    display(Markdown(words))
    return bool((own["lower"] > 0).all()), words


def _show_gains(gains: pd.DataFrame) -> None:
    """Gains of all networks, one panel per kind and control."""
    table = gains.assign(measure=gains["kind"] + ", gain on " + gains["against"])
    networks = list(table["network"].unique())
    names = [network_name(one) for one in networks]
    by_measure = table.groupby("measure", sort=False)
    rows = -(-len(by_measure) // 2)
    size = (7.4, rows * (0.65 + 0.24 * len(networks)))
    figure, grid = plt.subplots(rows, 2, figsize=size, sharex=True, sharey=True, squeeze=False)
    for (name, part), axes in zip(by_measure, grid.T.ravel(), strict=True):
        style.draw_points(axes, part.set_index("network").reindex(networks), names)
        axes.axvline(0, color=style.GREY, linewidth=1)
        axes.set_title(name, fontsize=9)
    figure.supxlabel("gain, a share of the control's area", fontsize=10)
    alt = "Gains of every network's maps on controls, with 95 % intervals (n = "
    style.show(figure, f"{alt}{table['n'].max():,}): right of the line the map does better.")


def _show_ratios(table: pd.DataFrame, network: str, controls: list[str]) -> None:
    """Energy on regions over their share of the hand, and that of maps that know nothing.

    `table`: rows of `regions.summarise` with metric "ratio".
    """
    own = table[(table["map"] == network) & table["value"].notna()].set_index("region")
    label = "share of the map's energy over share of the hand"
    figure, axes = style.dots(own, own.index, label, line=1)
    values = table[table["map"].isin(controls)].pivot(index="region", columns="map", values="value")
    values = values.reindex(own.index)
    axes.plot(values, range(len(own)), "x", markersize=5, color=style.SOFT)
    most = values.max(axis=1)
    each = ", ".join(f"{name} {row.value:.2f} ({most[name]:.2f})" for name, row in own.iterrows())
    style.show(
        figure,
        f"Energy of the map of {network_name(network)} over area by ossification region, with 95 % "
        f"intervals (crosses: maps that know nothing of it; in brackets the highest): {each}.",
    )


def _listed(names: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    *most, last = [*names] or [""]
    return f"{', '.join(most)} and {last}" if most else last


def _rows(
    pictures: np.ndarray, titles: Sequence[str], below: list[str]
) -> tuple[Figure, np.ndarray]:
    """Radiographs in a row with their titles, and empty rows called `below`."""
    size = (1.4 * len(titles) + 0.4, 1.45 * (1 + len(below)) + 0.9)
    figure, grid = plt.subplots(1 + len(below), len(titles), figsize=size, squeeze=False)
    for axes, picture, title in zip(grid[0], pictures, titles, strict=True):
        style.draw_picture(axes, picture, title)
    for axes, name in zip(grid[:, 0], ["radiograph", *below], strict=True):
        axes.set_ylabel(METHODS.get(name, network_name(name)), fontsize=8)
    return figure, grid


def _veil(axes: plt.Axes, picture: np.ndarray, heat: np.ndarray) -> None:
    """A map over a radiograph, in `LEVELS`: the lower, the more of the radiograph shows through."""
    style.draw_picture(axes, picture)
    heat = np.round(LEVELS * heat / max(float(heat.max()), 1e-30)) / LEVELS
    height, width = picture.shape
    over = (-0.5, width - 0.5, height - 0.5, -0.5)  # a coarse map covers the picture too
    axes.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=VEIL * heat, extent=over)


def _scale(figure: Figure) -> None:
    """What the colours of maps mean, below the radiographs."""
    colours = plt.cm.ScalarMappable(Normalize(0, 100), plt.get_cmap(HEAT, LEVELS))
    look = {"location": "bottom", "shrink": 0.4, "aspect": 50, "pad": 0.01}
    figure.colorbar(colours, ax=figure.axes, label="% of the map's maximum", **look)
