"""How far models can be trusted on radiographs unlike those they learnt on: a stress test.

The original radiograph is corrupted and then prepared as the model's own were, so finding the hand
and stretching meet the corrupted film, as they would in life. A kind at a time is prepared and
predicted, so only one kind's pictures are in memory; networks are read once and kept for all kinds.
"""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import metrics
from nbhelpers.bias.corruptions import CORRUPTIONS, corrupted_pictures
from nbhelpers.data import splits
from nbhelpers.evaluation.scores import case_errors
from nbhelpers.models import saved

SALT = "hand radiographs, stressed"
CASES = 300  # drawn at most: their MAE is known to about 1 month where the errors' SD is 9
GROWTH = 0.10  # of the MAE, beyond which a corruption is no longer harmless
ADDED = ["difference", "difference_lower", "difference_upper"]
COLUMNS = ["kind", "strength", "unit", "model", "n", "mae", "lower", "upper", *ADDED]
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
    kinds: Sequence[str] = tuple(CORRUPTIONS),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of models of ages on corrupted radiographs of a split, COLUMNS; where they tip.

    A row a kind, strength and model; first in each kind stand the uncorrupted radiographs, prepared
    and predicted once for all, under its `identity`. `mae` is in months with its 95 % bootstrap
    interval, `difference` what the corruption adds to it on the same cases, with its paired
    interval. The second table is that of `tipping_strength`.

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
    rows = []
    for kind in kinds:
        corruption = CORRUPTIONS[kind]
        corrupted = errors_of(kind, corruption.strengths)
        for index, strength in enumerate((corruption.identity, *corruption.strengths)):
            for model in models:
                (plain,) = uncorrupted[model]
                errors = corrupted[model][index - 1] if index else plain
                added = metrics.compare_errors(errors, plain)
                ends = added["value"], added["lower"], added["upper"]
                named = (kind, float(strength), corruption.unit, model)
                rows.append((*named, *metrics.score_mean(errors), *ends))
    table = pd.DataFrame(rows, columns=COLUMNS)
    return table, tipping_strength(table)


def tipping_strength(table: pd.DataFrame) -> pd.DataFrame:
    """The strength at which each model's MAE has grown by `GROWTH`: TIPPING_COLUMNS.

    A row a model, kind and direction (darker and brighter are two). `strength` lies on the straight
    line between the two strengths tried around it, and is NaN where the MAE has not grown so far up
    to `strongest`, the last one tried. A kind that is on or off tips where it is on.

    table: as `stress` gives it.
    """
    rows = []
    for (model, kind), part in table.groupby(["model", "kind"], sort=False):
        corruption = CORRUPTIONS[kind]
        for direction in (-1, 1):
            away = (part["strength"] - corruption.identity) * direction
            tried = part.loc[away[away >= 0].sort_values().index]
            if len(tried) < 2:
                continue
            strengths, mae = tried["strength"].to_numpy(float), tried["mae"].to_numpy(float)
            limit, tips = (1 + GROWTH) * mae[0], np.nan  # the first is uncorrupted
            for last in np.flatnonzero(mae[1:] >= limit)[:1] + 1:
                around = slice(last - 1, last + 1)
                tips = float(np.interp(limit, mae[around], strengths[around]))
                if len(corruption.strengths) == 1:  # on or off
                    tips = strengths[last]
            rows.append((model, kind, corruption.unit, strengths[-1], tips))
    return pd.DataFrame(rows, columns=TIPPING_COLUMNS)
