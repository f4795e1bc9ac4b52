"""Prediction intervals of ages by split conformal prediction, fitted on calibration cases alone.

The half-width is the smallest error that enough of the calibration errors do not exceed
(Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005). Three kinds:

- `plain`: one half-width for all;
- `scaled`: in proportion to the error that is usual at this predicted age;
- `mondrian`: one half-width for each sex and predicted stage; a group of fewer than
  `SMALLEST_GROUP` cases joins its smaller neighbour stage.

What conformal prediction needs whatever is predicted: levels, quantiles, groups large enough.

Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005.

Prediction sets of stages by split conformal prediction, fitted on calibration cases alone.

A set holds every stage whose probability lacks at most a limit to 1, the most likely one always.
The limit is what the true stage's probability lacked at most in the promised share of calibration
cases (Sadinle, Lei, Wasserman: Least ambiguous set-valued classifiers, J Am Stat Assoc
2019;114:223-234). Two kinds:

- `plain`: one limit for all stages;
- `by stage`: a limit for each stage, so that the rare ones are held as often as the common; a
  stage of fewer than `SMALLEST_GROUP` cases shares with its smaller neighbour.

The prediction intervals and sets of saved models, fitted on their calibration rows.

`models/<model>.age.intervals.json` and `models/<model>.stage.sets.json`.

How often intervals and sets hold the truth, and how wide they are, by split and group.
"""

import itertools
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import metrics, predictions
from nbhelpers.data import stages
from nbhelpers.data.cases import load_data_facts
from nbhelpers.data.stages import SEXES, STAGES, stage_of
from nbhelpers.evaluation.scores import ALL, case_errors, groups
from nbhelpers.workspace import InputError, find_run_file, find_run_files, read_json, write_json

LEVELS = (0.8, 0.9, 0.95)
SMALLEST_GROUP = 40


def quantiles(scores: np.ndarray) -> dict[str, float | None]:
    """By level, the smallest score that ceil((n + 1) * level) of the scores do not exceed."""
    ordered = np.sort(scores)
    found = {}
    for level in LEVELS:
        # Rounded first: 0.95 times 20 must not become 20 by a bit.
        rank = math.ceil(round((len(ordered) + 1) * level, 9))
        found[str(level)] = float(ordered[rank - 1]) if rank <= len(ordered) else None
    return found


def runs_of_stages(sizes: list[int]) -> list[list[int]]:
    """Stages as groups of at least `SMALLEST_GROUP` cases, where there are that many.

    The smallest group below that joins its smaller neighbour, until none is left.

    Args:
        sizes: the cases of each stage.
    """
    parts, sizes = [[stage] for stage in range(len(sizes))], list(sizes)
    while len(parts) > 1 and min(sizes) < SMALLEST_GROUP:
        small = sizes.index(min(sizes))
        beside = [place for place in (small - 1, small + 1) if 0 <= place < len(parts)]
        first, second = sorted((small, min(beside, key=lambda place: sizes[place])))
        parts[first : second + 1] = [parts[first] + parts[second]]
        sizes[first : second + 1] = [sizes[first] + sizes[second]]
    return parts


SET_KINDS = ("plain", "by stage")


@dataclass(frozen=True)
class StageSets:
    """What sets of stages are made from; plain numbers.

    Attributes:
        limits: by kind and level ("0.9"), for each stage what its probability may lack to 1; 1
            where the calibration cases are too few for that level.
    """

    limits: dict[str, dict[str, tuple[float, ...]]]


def fit_stage_sets(probabilities: np.ndarray, stage: np.ndarray) -> StageSets:
    """Sets around a model's probabilities `[n, 5]` of calibration cases; true stages `[n]`, 0..4.

    Those of an ensemble are cross-fitted.
    """
    probabilities, stage = np.asarray(probabilities, float), np.asarray(stage, int)
    lacked = 1 - probabilities[np.arange(len(stage)), stage]
    parts = runs_of_stages(np.bincount(stage, minlength=STAGES).tolist())
    return StageSets(
        {
            "plain": _limits([(range(STAGES), quantiles(lacked))]),
            "by stage": _limits(
                [(part, quantiles(lacked[np.isin(stage, part)])) for part in parts]
            ),
        }
    )


def held_stages(sets: StageSets, probabilities: np.ndarray, kind: str, level: float) -> np.ndarray:
    """Whether each stage is in the set of each case, `[n, 5]`; the most likely one always is."""
    probabilities = np.asarray(probabilities, float)
    held = 1 - probabilities <= np.array(sets.limits[kind][str(level)])
    held[np.arange(len(held)), probabilities.argmax(axis=1)] = True
    return held


def sets_as_json(sets: StageSets) -> dict:
    """Plain values; `from_json` reads them."""
    return asdict(sets)


def sets_from_json(content: dict, where: str) -> StageSets:
    """Sets out of their JSON; raises InputError naming `where` for anything else."""
    try:
        made = StageSets(
            {
                kind: {
                    str(level): tuple(map(float, content["limits"][kind][str(level)]))
                    for level in LEVELS
                }
                for kind in SET_KINDS
            }
        )
        for by_level in made.limits.values():
            for told in by_level.values():
                if len(told) != STAGES or not all(0 <= value <= 1 for value in told):
                    raise ValueError("a limit is no probability")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where} holds no sets of stages of this suite. Run the notebook that makes it again."
        ) from error
    return made


def _limits(parts: list[tuple[list[int], dict]]) -> dict[str, tuple[float, ...]]:
    """By level, the limit of each stage, out of the quantiles of groups of stages."""
    of_stage = {stage: told for part, told in parts for stage in part}
    return {
        str(level): tuple(
            1.0 if of_stage[stage][str(level)] is None else of_stage[stage][str(level)]
            for stage in range(STAGES)
        )
        for level in LEVELS
    }


KINDS = ("plain", "scaled", "mondrian")
TOLD_KIND, TOLD_LEVEL = "mondrian", 0.9  # where one interval stands for all
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


NAMES = {"age": "models/{}.age.intervals.json", "stage": "models/{}.stage.sets.json"}


def fit_intervals(run_folder: Path, model: str) -> Intervals:
    """Fit the intervals of a model of ages and write them.

    Raises InputError where the model has no labelled case of calibration.
    """
    rows = _calibration(run_folder, model, "age")
    fitted = fit(
        rows["predicted_months"],
        rows["age_months"],
        rows["sex"],
        load_data_facts(run_folder)["stage_cuts"],
    )
    _write(run_folder, model, "age", as_json(fitted), len(rows))
    return fitted


def fit_sets(run_folder: Path, model: str) -> StageSets:
    """Fit the sets of a model of stages and write them; raises InputError as `fit_intervals`."""
    rows = _calibration(run_folder, model, "stage")
    probabilities = rows[predictions.STAGE_COLUMNS].to_numpy(float)
    fitted = fit_stage_sets(probabilities, rows["stage"].to_numpy(int))
    _write(run_folder, model, "stage", sets_as_json(fitted), len(rows))
    return fitted


def load_intervals(run_folder: Path, model: str) -> Intervals:
    """The intervals of a model; raises InputError where they were not made, or are damaged."""
    path = find_run_file(run_folder, NAMES["age"].format(model))
    return from_json(read_json(path), path.name)


def has_intervals(run_folder: Path, model: str, task: str) -> bool:
    """Whether intervals or sets were fitted for a model: notebook 05 does it."""
    return bool(find_run_files(run_folder, NAMES[task].format(model)))


def load_sets(run_folder: Path, model: str) -> StageSets:
    """The sets of a model; raises InputError where they were not made, or are damaged."""
    path = find_run_file(run_folder, NAMES["stage"].format(model))
    return sets_from_json(read_json(path), path.name)


def _calibration(run_folder: Path, model: str, task: str) -> pd.DataFrame:
    rows = predictions.fitting_rows(run_folder, model, task)
    label = "age_months" if task == "age" else "stage"
    rows = rows[(rows["split"] == "calibration") & rows[label].notna()]
    if rows.empty:
        raise InputError(f"{model}.{task} predicts no case of calibration: intervals need some.")
    return rows


def _write(run_folder: Path, model: str, task: str, content: dict, n: int) -> None:
    path = run_folder / NAMES[task].format(model)
    write_json(path, content | {"model": model, "calibration_cases": n})


REDRAWS = 20
REDRAW_SEED = 0
SET_COLUMNS = ["kind", "level", "group", "n", "coverage", "lower", "upper", "mean_stages"]
COLUMNS = ["kind", "level", "group", "n", "coverage", "lower", "upper", "width_months"]


def coverage(
    run_folder: Path, model: str, split: str, fitted_in: Path | None = None
) -> pd.DataFrame:
    """COLUMNS, a row a kind, level and group: all, each sex, each band of true age.

    `coverage` is a share with its 95 % interval, `width_months` the mean width.
    `fitted_in` is the run folder that holds the intervals, if it is another.
    """
    rows = case_errors(run_folder, model, "age", split)
    fitted = load_intervals(fitted_in or run_folder, model)
    told = []
    for kind in KINDS:
        for level in LEVELS:
            limits = ends(fitted, rows["predicted_months"], rows["sex"], kind, level)
            held = inside(limits, rows["age_months"])
            for group, chosen in groups(rows).items():
                score = metrics.score_share(held[chosen])
                width = float(np.ptp(limits[chosen], axis=1).mean())
                told.append((kind, level, group, *score, width))
    return pd.DataFrame(told, columns=COLUMNS)


def set_coverage(
    run_folder: Path, model: str, split: str, fitted_in: Path | None = None
) -> pd.DataFrame:
    """SET_COLUMNS, as `coverage` for sets of stages, groups by true stage among them.

    `mean_stages` is how many of the five stages a set holds on average.
    """
    rows = case_errors(run_folder, model, "stage", split)
    rows = rows[rows["stage"].notna()].reset_index(drop=True)
    stage, names = rows["stage"].to_numpy(int), load_data_facts(run_folder)["stage_names"]
    of_group = groups(rows) | {names[at]: stage == at for at in np.unique(stage)}
    probabilities = rows[predictions.STAGE_COLUMNS].to_numpy(float)
    fitted = load_sets(fitted_in or run_folder, model)
    told = []
    for kind, level in itertools.product(SET_KINDS, LEVELS):
        held = held_stages(fitted, probabilities, kind, level)
        inside = held[np.arange(len(stage)), stage]
        for group, chosen in of_group.items():
            size = float(held[chosen].sum(axis=1).mean())
            told.append((kind, level, group, *metrics.score_share(inside[chosen]), size))
    return pd.DataFrame(told, columns=SET_COLUMNS)


def redrawn_coverage(
    run_folder: Path, model: str, kind: str, level: float, redraws: int = REDRAWS
) -> pd.DataFrame:
    """Coverage where chance decides which held-out cases calibrate, a row a redraw and group.

    Calibration and test are pooled and drawn anew, in the same numbers; predictions stay. One draw
    of some hundred calibration cases moves the coverage by a percentage point or two; the mean over
    redraws shows whether the method keeps its promise. Groups: all, each sex, and each sex and
    predicted stage. Columns: redraw, group, n, coverage.
    """
    facts = load_data_facts(run_folder)
    cuts = facts["stage_cuts"]
    parts = [case_errors(run_folder, model, "age", split) for split in ("calibration", "test")]
    pool = pd.concat(parts, ignore_index=True)
    random, told = np.random.default_rng(REDRAW_SEED), []
    for redraw in range(redraws):
        order = random.permutation(len(pool))
        drawn, rest = pool.iloc[order[: len(parts[0])]], pool.iloc[order[len(parts[0]) :]]
        fitted = fit(drawn["predicted_months"], drawn["age_months"], drawn["sex"], cuts)
        limits = ends(fitted, rest["predicted_months"], rest["sex"], kind, level)
        for group, chosen in _redrawn_groups(rest, facts["stage_names"]).items():
            share = float(inside(limits, rest["age_months"])[chosen].mean())
            told.append((redraw, group, int(chosen.sum()), share))
    return pd.DataFrame(told, columns=["redraw", "group", "n", "coverage"])


def _redrawn_groups(rows: pd.DataFrame, stage_names: list[str]) -> dict[str, np.ndarray]:
    by_sex = {sex: (rows["sex"] == sex).to_numpy() for sex in stages.SEXES}
    stage = rows["predicted_stage"].to_numpy(float, na_value=np.nan)
    by_stage = {
        f"{sex}, {stage_names[int(number)]}": chosen & (stage == number)
        for sex, chosen in by_sex.items()
        for number in np.unique(stage[np.isfinite(stage)])
    }
    every = {ALL: np.ones(len(rows), bool)} | by_sex | by_stage
    return {name: chosen for name, chosen in every.items() if chosen.any()}
