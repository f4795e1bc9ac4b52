"""How far models can be trusted on radiographs unlike those they learnt on: a stress test.

The original radiograph is corrupted and then prepared as the model's own were, so finding the hand
and stretching meet the corrupted film, as they would in life. A kind at a time is prepared and
predicted, so only one kind's pictures are in memory; networks are read once and kept for all kinds.
"""

import functools
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import metrics, workspace
from nbhelpers.bias.corruptions import CORRUPTIONS, GROWTH, corrupted_pictures
from nbhelpers.data import splits
from nbhelpers.evaluation.scores import case_errors
from nbhelpers.models import saved

SALT = "hand radiographs, stressed"
CASES = 300  # drawn at most: their MAE is known to about 1 month where the errors' SD is 9
ADDED = ["difference", "difference_lower", "difference_upper"]
COLUMNS = ["kind", "strength", "unit", "model", "n", "mae", "lower", "upper", *ADDED]
TIPPING_COLUMNS = ["model", "kind", "unit", "weakest", "strongest", "strength", "lower", "upper"]
FINER = 3  # parts that the step in which a model tips is cut into


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
    kinds: Sequence[str] = tuple(CORRUPTIONS),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of models of ages on corrupted radiographs of a split, COLUMNS; where they tip.

    One row per kind, strength and model; first in each kind are the uncorrupted radiographs,
    prepared and predicted once, under its `identity`. `mae` is in months with its 95 % bootstrap
    interval, `difference` what the corruption adds to it on the same cases, with its paired
    interval. The second table is that of `tipping_strengths`.

    Args:
        models: of the run folder, ensembles among them.
        count: cases drawn at most (see `draw_cases`).

    Raises InputError for a model without predictions of the split, a radiograph that cannot be read
    any more, and where this version of the suite prepares radiographs in another way than the run.
    """
    preparations = saved.preparations(run_folder, [(model, "age") for model in models])
    cases = [case_errors(run_folder, model, "age", split) for model in models]
    drawn, read = draw_cases(cases[0], count), functools.cache(saved.load)

    def errors_of(kind: str, strengths: Sequence[float]) -> dict[str, np.ndarray]:
        """Each model's absolute errors on the drawn cases, months `[strengths, n]`."""
        flat = {}
        for view, preparation in preparations.items():
            shown = corrupted_pictures(drawn["image_path"], preparation, kind, strengths)
            flat[view] = shown.reshape(-1, *shown.shape[2:])
        sex = np.tile(splits.sex_codes(drawn["sex"]), len(strengths))
        truth = drawn["age_months"].to_numpy(float)
        said = saved.predict_each(run_folder, list(models), "age", flat.__getitem__, sex, read)
        return {name: abs(of.reshape(len(strengths), -1) - truth) for name, of in said.items()}

    uncorrupted = errors_of(kinds[0], (CORRUPTIONS[kinds[0]].identity,))
    rows, tips = [], []
    for kind in workspace.progress(kinds, len(kinds), "corruptions"):
        corruption = CORRUPTIONS[kind]
        tried = {corruption.identity: {name: errors[0] for name, errors in uncorrupted.items()}}
        strengths = corruption.strengths
        for _ in range(2):  # then once more, with finer steps where a model tips
            found = errors_of(kind, strengths)
            for place, strength in enumerate(strengths):
                tried[strength] = {name: errors[place] for name, errors in found.items()}
            if not (strengths := between(kind, tried)):
                break
        for strength in tried:
            for model, errors in tried[strength].items():
                added = metrics.compare_errors(errors, tried[corruption.identity][model])
                ends = added["value"], added["lower"], added["upper"]
                named = (kind, float(strength), corruption.unit, model)
                rows.append((*named, *metrics.score_mean(errors), *ends))
        tips += tipping_strengths(kind, tried)
    return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(tips, columns=TIPPING_COLUMNS)


def ways(kind: str, tried: Iterable[float]) -> list[list[float]]:
    """The strengths tried, from none on, in each direction: darker and brighter are two."""
    none = CORRUPTIONS[kind].identity
    up = sorted(one for one in tried if one >= none)
    down = sorted((one for one in tried if one <= none), reverse=True)
    return [way for way in (up, down) if len(way) > 1]


def between(kind: str, tried: dict[float, dict[str, np.ndarray]]) -> list[float]:
    """Strengths that cut the step in which a model tips into `FINER` parts; none if on or off."""
    if len(CORRUPTIONS[kind].strengths) == 1:
        return []
    found = set()
    for way in ways(kind, tried):
        for model in tried[way[0]]:
            mae = np.array([tried[one][model].mean() for one in way])
            for last in np.flatnonzero(mae >= (1 + GROWTH) * mae[0])[:1]:
                found |= set(np.linspace(way[last - 1], way[last], FINER + 1)[1:-1].tolist())
    return sorted(found)


def tipping_strengths(kind: str, tried: dict[float, dict[str, np.ndarray]]) -> list[tuple]:
    """The strengths at which each model's MAE has grown by `GROWTH`: rows of TIPPING_COLUMNS.

    One row per model and direction. `strength` lies on the straight line between the strengths
    around it, `lower` and `upper` are its 95 % interval over the cases, from weak to strong. It is
    the identity, which changes nothing, where it lies below `weakest`, the smallest tried, and NaN
    where it is not reached up to `strongest`. A kind that is on or off tips where it is on.

    tried: strength, model, and its absolute errors, months `[n]`.
    """
    rows = []
    for way in ways(kind, tried):
        for model in tried[way[0]]:
            errors = np.stack([tried[one][model] for one in way])
            n = errors.shape[1]
            drawn = [errors @ times.T / n for _, times in metrics.resamples(n)]
            mae = np.column_stack([errors.mean(axis=1), *drawn])
            value, *of_cases = (crossing(np.array(way), one) for one in mae.T)
            # Not reached is stronger than all that was tried.
            far = np.nan_to_num(np.abs(np.subtract(of_cases, way[0])), nan=np.inf)
            ends = np.quantile(far, [0.025, 0.975], method="nearest")
            signed = way[0] + np.sign(way[-1] - way[0]) * np.where(np.isinf(ends), np.nan, ends)
            unit = CORRUPTIONS[kind].unit
            rows.append((model, kind, unit, way[1], way[-1], value, *signed.tolist()))
    return rows


def crossing(way: np.ndarray, mae: np.ndarray) -> float:
    """Where the MAE has first grown by `GROWTH`, see `tipping_strengths`; both `[strengths]`."""
    limit = (1 + GROWTH) * mae[0]
    for last in np.flatnonzero(mae >= limit)[:1]:
        if len(way) == 2:
            return float(way[1])
        if last == 1:
            return float(way[0])
        return float(np.interp(limit, mae[last - 1 : last + 1], way[last - 1 : last + 1]))
    return np.nan
