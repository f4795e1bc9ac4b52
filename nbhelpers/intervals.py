"""Prediction intervals of ages by split conformal prediction, fitted on calibration cases alone.

The half-width is the smallest error that enough of the calibration errors do not exceed
(Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005). Three kinds:

- `plain`: one half-width for all;
- `scaled`: in proportion to the error that is usual at this predicted age;
- `mondrian`: one half-width for each sex and predicted stage; a group of fewer than
  `conformal.SMALLEST_GROUP` cases joins its smaller neighbour stage.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from nbhelpers.conformal import LEVELS, quantiles, runs_of_stages
from nbhelpers.stages import STAGES, stage_of
from nbhelpers.workspace import InputError

KINDS = ("plain", "scaled", "mondrian")
TOLD_KIND, TOLD_LEVEL = "mondrian", 0.9  # where one interval stands for all
SEXES = ("female", "male")
OLDEST_MONTHS = 240.0  # atlases end at 19 years; an interval reaches from 0 to here at most
KNOTS = 8  # of the usual error as a function of predicted age
SMALLEST_USUAL_ERROR = 1.0  # months
FOLDS = 5
SEED = 0


@dataclass(frozen=True)
class Intervals:
    """What intervals are made from; plain numbers.

    Attributes:
        stage_cuts: cuts of the stages that `mondrian` groups by.
        knots_months, usual_months: the usual error at a predicted age, linear in between.
        groups: by sex (`female`, `male`), the name of the group of each predicted stage.
        half_widths: by kind, group ("" where there is one) and level ("0.9"): months, or None where
            the calibration cases are too few for that level and the interval is all ages.
    """

    stage_cuts: str
    knots_months: tuple[float, ...]
    usual_months: tuple[float, ...]
    groups: dict[str, tuple[str, ...]]
    half_widths: dict[str, dict[str, dict[str, float | None]]]


def fit(months: np.ndarray, truth: np.ndarray, sex: pd.Series, stage_cuts: str) -> Intervals:
    """Intervals around a model's months.

    Args:
        months: what the model says of calibration cases `[n]`; of an ensemble, cross-fitted.
        truth: bone age, months `[n]`.
        sex: `[n]`, `female`, `male` or null.
        stage_cuts: see `stages.parse_cuts`.
    """
    months, sex = np.asarray(months, float), np.asarray(sex, object)
    error = np.abs(months - np.asarray(truth, float))
    knots, usual = _usual_error(months, error)
    groups = {name: _groups(months[sex == name], name, stage_cuts) for name in SEXES}
    half_widths = {
        "plain": {"": quantiles(error)},
        "scaled": {"": quantiles(error / _usual_out_of_fold(months, error))},
        "mondrian": {},
    }
    for name, of_stage in groups.items():
        group = np.array(of_stage)[_stages(months, name, stage_cuts)]
        for one in sorted(set(of_stage)):
            half_widths["mondrian"][one] = quantiles(error[(sex == name) & (group == one)])
    return Intervals(stage_cuts, knots, usual, groups, half_widths)


def ends(
    intervals: Intervals, months: np.ndarray, sex: pd.Series, kind: str, level: float
) -> np.ndarray:
    """Lower and upper months `[n, 2]`, within 0 to `OLDEST_MONTHS`.

    Where sex is unknown the interval spans those of both sexes.
    """
    months, sex = np.asarray(months, float), np.asarray(sex, object)
    half = {name: _half_widths(intervals, months, name, kind, level) for name in SEXES}
    wider = np.maximum(half["female"], half["male"])
    of_case = np.select([sex == name for name in SEXES], [half[name] for name in SEXES], wider)
    return np.clip(np.column_stack([months - of_case, months + of_case]), 0.0, OLDEST_MONTHS)


def inside(ends_of_cases: np.ndarray, months: np.ndarray) -> np.ndarray:
    """Whether each interval `[n, 2]` holds the age `[n]`, its ends too."""
    months = np.asarray(months, float)
    return (ends_of_cases[:, 0] <= months) & (months <= ends_of_cases[:, 1])


def as_json(intervals: Intervals) -> dict:
    """Plain values; `from_json` reads them."""
    return asdict(intervals)


def from_json(content: dict, where: str) -> Intervals:
    """Intervals out of their JSON; raises InputError naming `where` for anything else."""
    try:
        made = Intervals(
            str(content["stage_cuts"]),
            tuple(map(float, content["knots_months"])),
            tuple(map(float, content["usual_months"])),
            {sex: tuple(map(str, content["groups"][sex])) for sex in SEXES},
            content["half_widths"],
        )
        for kind in KINDS:
            names = {g for of in made.groups.values() for g in of} if kind == "mondrian" else {""}
            for group in names:
                widths = [made.half_widths[kind][group][str(level)] for level in LEVELS]
                if not all(width is None or 0 <= float(width) < math.inf for width in widths):
                    raise ValueError("a half-width is no number")
        if any(len(names) != STAGES for names in made.groups.values()):
            raise ValueError("a stage has no group")
        if len(made.knots_months) != len(made.usual_months) or not made.knots_months:
            raise ValueError("knots without errors")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where} holds no intervals of this suite. Run the notebook that makes it again."
        ) from error
    return made


def _usual_error(months: np.ndarray, error: np.ndarray) -> tuple[tuple, tuple]:
    """Mean error of the cases around each of some knots, which split the cases evenly."""
    bins = np.array_split(np.argsort(months, kind="stable"), max(1, min(KNOTS, len(months) // 10)))
    knots = tuple(float(months[rows].mean()) for rows in bins)
    usual = tuple(max(SMALLEST_USUAL_ERROR, float(error[rows].mean())) for rows in bins)
    return knots, usual


def _usual_out_of_fold(months: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The usual error `[n]` at each case, told by the others: its own would flatter it."""
    fold = np.random.default_rng(SEED).permutation(len(months)) % FOLDS
    usual = np.full(len(months), SMALLEST_USUAL_ERROR)
    for held_out in range(FOLDS):
        others, here = fold != held_out, fold == held_out
        if others.any():
            usual[here] = np.interp(months[here], *_usual_error(months[others], error[others]))
    return usual


def _groups(months: np.ndarray, sex: str, stage_cuts: str) -> tuple[str, ...]:
    """The name of the group of each stage, out of the predicted months of the cases of one sex."""
    parts = runs_of_stages(np.bincount(_stages(months, sex, stage_cuts), minlength=STAGES).tolist())
    names = {
        stage: f"{sex} {part[0]}" + (f" to {part[-1]}" if len(part) > 1 else "")
        for part in parts
        for stage in part
    }
    return tuple(names[stage] for stage in range(STAGES))


def _stages(months: np.ndarray, sex: str, stage_cuts: str) -> np.ndarray:
    """The stage `[n]` of each age, were all cases of one sex."""
    return np.asarray(stage_of(months, np.full(len(months), sex, object), stage_cuts), int)


def _half_widths(intervals, months, sex: str, kind: str, level: float) -> np.ndarray:
    """Half-widths `[n]`, months, were all cases of one sex; infinite where there is none."""
    widths = {
        group: math.inf if told[str(level)] is None else told[str(level)]
        for group, told in intervals.half_widths[kind].items()
    }
    if kind == "mondrian":
        of_stage = np.array([widths[group] for group in intervals.groups[sex]])
        return of_stage[_stages(months, sex, intervals.stage_cuts)]
    half = np.full(len(months), widths[""])
    if kind == "scaled":
        half = half * np.interp(months, intervals.knots_months, intervals.usual_months)
    return half
