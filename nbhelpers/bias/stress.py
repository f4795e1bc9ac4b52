"""How far models can be trusted on radiographs unlike those they learnt on: a stress test.

The original radiograph is disturbed and then prepared as the model's own were, so finding the hand
and stretching meet the disturbed film, as they would in life. A kind at a time is prepared and
predicted, so only one kind's pictures are in memory; networks are read once and kept for all kinds.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import metrics
from nbhelpers.bias import corruptions
from nbhelpers.bias.corruptions import DISTURBANCES, named
from nbhelpers.data import splits
from nbhelpers.evaluation.scores import case_errors
from nbhelpers.images.preparation import Preparation
from nbhelpers.models import saved
from nbhelpers.workspace import Each, InputError, workers

SALT = "hand radiographs, stressed"
CASES = 300  # drawn at most: their MAE is known to about 1 month where the errors' SD is 9
GROWTH = 0.10  # of the MAE, beyond which a disturbance is no longer harmless
SCORE_COLUMNS = ["n", "mae", "lower", "upper", "difference", "difference_lower", "difference_upper"]
COLUMNS = ["kind", "strength", "unit", "model", *SCORE_COLUMNS]
TIPPING_COLUMNS = ["model", "kind", "unit", "strongest", "strength"]


def draw_cases(cases: pd.DataFrame, count: int = CASES) -> pd.DataFrame:
    """At most `count` of the labelled cases, in the order of a salted hash of their id.

    Whether a case comes before another depends on nothing but the two ids. So neither the order of
    rows nor a seed matters, and cases that are added only push some out at the end.
    """
    labelled = cases[cases["age_months"].notna()]
    keys = [hashlib.sha256(f"{SALT}\0{case}".encode()).hexdigest() for case in labelled["case_id"]]
    return labelled.iloc[np.argsort(keys)[:count]].reset_index(drop=True)


def stress(
    run_folder: Path,
    models: Sequence[str],
    split: str,
    count: int = CASES,
    kinds: Sequence[str] = tuple(DISTURBANCES),
) -> pd.DataFrame:
    """Scores of models of ages on disturbed radiographs of a split: COLUMNS.

    A row a kind, strength and model; first in each kind stand the undisturbed radiographs, prepared
    and predicted once for all, under its `identity`. `mae` is in months with its 95 % bootstrap
    interval, `difference` what the disturbance adds to it on the same cases, with its paired
    interval.

    Args:
        models: of the run folder, ensembles among them.
        count: cases drawn at most (see `draw_cases`).

    Raises InputError for a model without predictions of the split, a radiograph that cannot be read
    any more, and where this version of the suite prepares radiographs in another way than the run.
    """
    run_folder = Path(run_folder)
    tried = {kind: named(kind) for kind in kinds}
    if not (models and tried):
        raise InputError("models or kinds is empty. Name the models to stress, and with what.")
    preparations = saved.preparations(run_folder, [(model, "age") for model in models])
    cases = [case_errors(run_folder, model, "age", split) for model in models]
    rows = []
    with workers(corruptions.of_file) as each:
        errors_of = _asked(each, run_folder, models, preparations, draw_cases(cases[0], count))
        first = next(iter(tried))
        undisturbed = errors_of(first, (tried[first].identity,))
        for kind, disturbance in tried.items():
            disturbed = errors_of(kind, disturbance.strengths)
            for index, strength in enumerate((disturbance.identity, *disturbance.strengths)):
                for model in models:
                    plain = undisturbed[model][0]
                    errors = disturbed[model][index - 1] if index else plain
                    scores = _scores(errors, plain)
                    rows.append((kind, float(strength), disturbance.unit, model, *scores))
    return pd.DataFrame(rows, columns=COLUMNS)


def _asked(
    each: Each,
    run_folder: Path,
    models: Sequence[str],
    preparations: dict[str, Preparation],
    drawn: pd.DataFrame,
) -> Callable[[str, Sequence[float]], dict[str, np.ndarray]]:
    """Gives, of a kind and strengths, each model's absolute errors, months `[strengths, n]`."""
    sex = splits.sex_codes(drawn["sex"])
    truth = drawn["age_months"].to_numpy(float)
    read = functools.cache(saved.load)

    def errors_of(kind: str, strengths: Sequence[float]) -> dict[str, np.ndarray]:
        pictures = {
            view: corruptions.disturbed_pictures(
                each, drawn["image_path"], preparation, kind, strengths
            )
            for view, preparation in preparations.items()
        }
        flat = {view: shown.reshape(-1, *shown.shape[2:]) for view, shown in pictures.items()}
        every = np.tile(sex, len(strengths))
        said = saved.predict_each(run_folder, list(models), "age", flat.__getitem__, every, read)
        return {
            model: abs(months.reshape(len(strengths), -1) - truth) for model, months in said.items()
        }

    return errors_of


def _scores(errors: np.ndarray, undisturbed: np.ndarray) -> tuple:
    """SCORE_COLUMNS of absolute errors `[n]`."""
    added = metrics.compare_errors(errors, undisturbed)
    return *metrics.score_mean(errors), added["value"], added["lower"], added["upper"]


def tipping_strength(table: pd.DataFrame) -> pd.DataFrame:
    """The strength at which each model's MAE has grown by `GROWTH`: TIPPING_COLUMNS.

    A row a model, kind and direction (darker and brighter are two). `strength` lies on the straight
    line between the two strengths tried around it, and is NaN where the MAE has not grown so far up
    to `strongest`, the last one tried. A kind that is on or off tips where it is on.

    table: as `stress` gives it.
    """
    rows = []
    for (model, kind), part in table.groupby(["model", "kind"], sort=False):
        disturbance = named(kind)
        for direction in (-1, 1):
            away = (part["strength"] - disturbance.identity) * direction
            tried = part.loc[away[away >= 0].sort_values().index]
            if len(tried) > 1:
                strengths = tried["strength"].to_numpy(float)
                tips = _tips_at(strengths, tried["mae"].to_numpy(float), disturbance.is_switch)
                rows.append((model, kind, disturbance.unit, strengths[-1], tips))
    return pd.DataFrame(rows, columns=TIPPING_COLUMNS)


def _tips_at(strengths: np.ndarray, mae: np.ndarray, is_switch: bool) -> float:
    """Where the MAE first reaches its limit; the first of both arrays is undisturbed."""
    limit = (1 + GROWTH) * mae[0]
    reached = np.flatnonzero(mae[1:] >= limit) + 1
    if not len(reached):
        return np.nan
    first = reached[0]
    if is_switch:
        return float(strengths[first])
    return float(np.interp(limit, mae[first - 1 : first + 1], strengths[first - 1 : first + 1]))
