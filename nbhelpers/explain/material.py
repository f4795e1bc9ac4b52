"""What is explained: every network of a run folder, and radiographs as each is given them."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from nbhelpers.data import cases, splits
from nbhelpers.evaluation import scores
from nbhelpers.explain import checks, grad_cam, regions
from nbhelpers.images.geometry import load_geometry
from nbhelpers.images.preparation import load_images
from nbhelpers.models import saved
from nbhelpers.models.networks import model_facts
from nbhelpers.phantom import dataset
from nbhelpers.workspace import InputError


@dataclass
class Explained:
    """A network and the radiographs that it is given; rows are those of the case table.

    Attributes:
        model, task: its name, and `age` or `stage`.
        network: as loaded.
        table, geometry: of all cases; the geometry of the view that the network takes.
        images: uint8 `[case, height, width]`, of that view.
        cells: of the feature map that it is explained by, see `grad_cam.feature_layer`.
    """

    model: str
    task: str
    network: keras.Model
    table: pd.DataFrame
    geometry: pd.DataFrame
    images: np.ndarray
    cells: int = 0

    @property
    def name(self) -> str:
        """The name that files know the network by: "cnn age"."""
        return f"{self.model} {self.task}"

    def given(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures uint8 `[n, height, width]` and sex `[n]`, as the network is given them.

        Sex is 0 female, 1 male, and the share of boys in training where it is unknown.
        """
        sex = splits.sex_codes(self.table["sex"].iloc[rows])
        share = model_facts(self.network)["male_share"]
        return np.asarray(self.images[rows]), np.nan_to_num(sex, nan=share)

    def errors(self, folder: Path, rows: np.ndarray, split: str) -> pd.DataFrame:
        """What `scores.case_errors` of the run folder gives for these cases of a split."""
        found = scores.case_errors(folder, self.model, self.task, split).set_index("case_id")
        return found.loc[self.table["case_id"].iloc[rows]].reset_index()

    def heat_maps(
        self, rows: np.ndarray, method: str, network: keras.Model | None = None
    ) -> np.ndarray:
        """See `grad_cam.heat_maps`; of stages the predicted one is explained.

        network: another that has the same layers.
        """
        return grad_cam.heat_maps(network or self.network, *self._asked(rows, method))

    def coarse_maps(
        self, rows: np.ndarray, method: str, network: keras.Model | None = None
    ) -> np.ndarray:
        """As `heat_maps`, of the size of the feature map and without mirror images."""
        return grad_cam.coarse_maps(network or self.network, *self._asked(rows, method))

    def _asked(self, rows: np.ndarray, method: str) -> tuple:
        given = self.given(rows)
        return *given, method, checks.predicted_stage(self.network, *given), self.cells

    def sides(self) -> dict[int, int]:
        """Its feature maps, from coarse to fine: see `grad_cam.sides`."""
        return grad_cam.sides(self.network)

    def score(self, rows: np.ndarray) -> checks.Score:
        """What it predicts for these cases, pictures changed: `checks.network_score`."""
        return checks.network_score(self.network, *self.given(rows))

    def on_regions(
        self, rows: np.ndarray, boxes: pd.DataFrame, maps: dict[str, np.ndarray]
    ) -> pd.DataFrame:
        """How maps of its pictures lie on boxes: `regions.localise`, with a column `map`.

        Args:
            boxes: see `regions.read_regions`.
            maps: by name, `[n, height, width]`.
        """
        hands = regions.hand_masks(self.given(rows)[0])
        about = self.table.iloc[rows], boxes, self.geometry.iloc[rows], hands
        found = [regions.localise(one, *about).assign(map=name) for name, one in maps.items()]
        return pd.concat(found, ignore_index=True)


@dataclass(frozen=True)
class Material:
    """The networks of a run folder and its cases.

    Attributes:
        networks: by name ("cnn age").
        closely: the network of ages that is looked at closely.
        table: the case table.
        stage_names: of the five stages.
        boxes: of ossification regions, see `regions.read_regions`; None where there are none.
        originals: whether the radiographs as they came are still there.
    """

    networks: dict[str, Explained]
    closely: Explained
    table: pd.DataFrame
    stage_names: list[str]
    boxes: pd.DataFrame | None
    originals: bool

    def drawn(self, split: str, count: int, with_boxes: bool = False) -> np.ndarray:
        """Rows of at most `count` cases of a split, evenly over the ages."""
        among = (self.table["split"] == split) & self.table["age_months"].notna()
        if with_boxes:
            among &= self.table["case_id"].isin(self.boxes["case_id"])
        known = np.flatnonzero(among)
        known = known[np.argsort(self.table["age_months"].to_numpy()[known], kind="stable")]
        return cases.evenly(known, count)


def read(folder: Path, model: str, regions_dir: str) -> Material:
    """The networks of a run folder, and what they are explained on.

    Args:
        model: network of ages to look at closely; empty: the one that is best on calibration.
        regions_dir: folder of Pascal VOC files; empty: those of synthetic radiographs, or none.

    Raises InputError where the run folder has no network of ages, or none of that name.
    """
    table = cases.load_cases(folder)
    networks = {}
    for (name, task), path in saved.saved_networks(folder).items():
        view = saved.view_of(folder, name, task)
        shown = load_geometry(folder, view), load_images(folder, view)
        networks[f"{name} {task}"] = Explained(name, task, saved.load(path), table, *shown)
    wanted = [model] if model else scores.ranked(folder, "age").index
    closely = next((networks[f"{name} age"] for name in wanted if f"{name} age" in networks), None)
    if closely is None:
        raise InputError(
            f"{folder} has no network of ages{f' called {model}' if model else ''}. "
            "Run notebooks 02 or 03 first."
        )
    place = regions_dir or dataset.regions_beside(table)
    boxes = regions.read_regions(Path(place), table, closely.geometry) if place else None
    names = cases.load_data_facts(folder)["stage_names"]
    return Material(networks, closely, table, names, boxes, cases.report_originals(table))
