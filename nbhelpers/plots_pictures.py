"""Sheets of radiographs: before and after each step, and those on which no hand was found.

Each function returns a figure and its alternative text.
"""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from nbhelpers.figures import COLOURS
from nbhelpers.images import Preparation, prepare_image, read_image, to_original

SHOWN_CASES = 10


def steps_sheet(cases: pd.DataFrame, preparation: Preparation) -> tuple[Figure, str]:
    """Ten training cases at even steps of age: as they came, the crop, upright, stretched."""
    train = cases[cases["split"] == "train"].sort_values("age_months", kind="stable")
    chosen = train.iloc[np.linspace(0, len(train) - 1, SHOWN_CASES).round().astype(int)]
    rows = ("as it came", "the hand found", "upright, cropped", "stretched")
    figure, grid = plt.subplots(len(rows), SHOWN_CASES, figsize=(11.0, 5.2), squeeze=False)
    edge = preparation.image_size - 0.5
    corners = np.array([(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)])
    for column, (_, case) in enumerate(chosen.iterrows()):
        pixels = read_image(Path(case["image_path"]))
        cropped, affine, _ = prepare_image(pixels, replace(preparation, stretch_contrast=False))
        stretched = prepare_image(pixels, preparation)[0]
        for axes, picture in zip(
            grid[:, column], (pixels, pixels, cropped, stretched), strict=True
        ):
            axes.imshow(picture, vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        side = preparation.image_size - 0.5
        corners = to_original(
            np.array([(-0.5, -0.5), (side, -0.5), (side, side), (-0.5, side)]), affine
        )
        grid[1, column].fill(*corners.T, fill=False, edgecolor=COLOURS[1], linewidth=1.5)
        grid[1, column].set(xlim=grid[0, column].get_xlim(), ylim=grid[0, column].get_ylim())
        sex = {"female": "girl", "male": "boy"}.get(case["sex"], "?")
        grid[0, column].set_title(f"{sex}\n{case['age_months'] / 12:.1f} y", fontsize=9)
    for axes, name in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(name, fontsize=9)
    low, high = chosen["age_months"].iloc[[0, -1]] / 12
    alt = f"Ten radiographs from {low:.1f} to {high:.1f} years, before and after each step."
    return figure, alt


def not_found_sheet(
    cases: pd.DataFrame, not_found: pd.DataFrame, prepared: np.ndarray, count: int = 8
) -> tuple[Figure, str]:
    """Prepared pictures of cases on which no hand was found."""
    rows = np.flatnonzero(cases["case_id"].isin(not_found["case_id"]).to_numpy())[:count]
    figure, grid = plt.subplots(1, len(rows), figsize=(1.4 * len(rows), 1.7), squeeze=False)
    for axes, row in zip(grid[0], rows, strict=True):
        axes.imshow(prepared[row], vmin=0, vmax=255)
        axes.set_title(cases["case_id"].iloc[row], fontsize=9)
        axes.axis("off")
    return figure, f"{len(rows)} of {len(not_found)} radiographs on which no hand was found."
