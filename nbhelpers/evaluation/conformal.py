"""Split conformal prediction: intervals of ages and sets of stages, fitted on calibration alone.

An interval's half-width is the smallest error that enough of the calibration errors do not exceed
(Vovk, Gammerman, Shafer: Algorithmic Learning in a Random World, 2005). Three kinds:

- `plain`: one half-width for all;
- `scaled`: in proportion to the error that is usual at this predicted age;
- `mondrian`: one half-width for each sex and predicted stage; a group of fewer than
  `SMALLEST_GROUP` cases joins its smaller neighbour stage.

A set holds every stage whose probability lacks at most a limit to 1, the most likely one always.
The limit is what the true stage's probability lacked at most in the promised share of calibration
cases (Sadinle, Lei, Wasserman: Least ambiguous set-valued classifiers, J Am Stat Assoc
2019;114:223-234). Two kinds:

- `plain`: one limit for all stages;
- `by stage`: a limit for each stage, so that the rare ones are held as often as the common; a
  stage of fewer than `SMALLEST_GROUP` cases shares with its smaller neighbour.

Both are kept alongside the model, in `models/<model>.age.intervals.json` and
`models/<model>.stage.sets.json`.
"""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import metrics, predictions
from nbhelpers.data.cases import load_data_facts
from nbhelpers.data.stages import SEXES, STAGES, stage_names, stage_of
from nbhelpers.evaluation.scores import case_errors, groups, stage_groups
from nbhelpers.workspace import InputError, find_run_file, find_run_files, read_json, write_json

LEVELS = (0.8, 0.9, 0.95)
KINDS = ("plain", "scaled", "mondrian")
SET_KINDS = ("plain", "by stage")
TOLD_KIND, TOLD_LEVEL = "mondrian", 0.9  # where one interval stands for all
NAMES = {"age": "models/{}.age.intervals.json", "stage": "models/{}.stage.sets.json"}
COLUMNS = ["kind", "quantiles", "level", "group", "n", "coverage", "lower", "upper"]
COLUMNS += ["promised", "chance"]
SMALLEST_GROUP = 40
OLDEST_MONTHS = 240.0  # atlases end at 19 years; an interval reaches from 0 to here at most
KNOTS = 8  # of the usual error as a function of predicted age
SMALLEST_USUAL_ERROR = 1.0  # months
FOLDS, SEED = 5, 0  # of the usual error of the cases that it is fitted on
Limits = dict[str, dict[str, list[float | None]]]


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
    knots_months: list[float]
    usual_months: list[float]
    groups: dict[str, list[str]]
    half_widths: dict[str, dict[str, dict[str, float | None]]]


def quantiles(scores: np.ndarray) -> dict[str, float | None]:
    """By level, the smallest score that ceil((n + 1) * level) of the scores do not exceed."""
    ordered = np.sort(scores)
    found = {}
    for level in LEVELS:
        rank = quantile_rank(len(ordered), level)
        found[str(level)] = float(ordered[rank - 1]) if rank <= len(ordered) else None
    return found


def quantile_rank(n: int, level: float) -> int:
    """Which of n calibration errors, the smallest first, is their quantile; above n: none is."""
    # Rounded first: 0.95 times 20 must not become 20 by a bit.
    return math.ceil(round((n + 1) * level, 9))


def joined(stage: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """The name of the group that each of the five stages is in, of `SMALLEST_GROUP` cases or more.

    The smallest group below that joins its smaller neighbour, until none is left.

    Args:
        stage: of each case, `[n]`, 0..4.
        names: of the five stages.
    """
    sizes = np.bincount(stage, minlength=STAGES).tolist()
    parts = [[stage] for stage in range(STAGES)]
    while len(parts) > 1 and min(sizes) < SMALLEST_GROUP:
        small = sizes.index(min(sizes))
        beside = [place for place in (small - 1, small + 1) if 0 <= place < len(parts)]
        first, second = sorted((small, min(beside, key=lambda place: sizes[place])))
        parts[first : second + 1] = [parts[first] + parts[second]]
        sizes[first : second + 1] = [sizes[first] + sizes[second]]
    if len(parts) == 1:
        return np.full(STAGES, "any stage")
    labels = [" to ".join(dict.fromkeys([names[part[0]], names[part[-1]]])) for part in parts]
    return np.repeat(labels, [len(part) for part in parts])


def case_groups(run_folder: Path, task: str, of: np.ndarray, sex: pd.Series) -> np.ndarray:
    """Whose quantile each calibration case is counted in, `[n]`, by name.

    Of ages it is that of its sex and predicted stage, of stages that of the true stage.

    Args:
        of: predicted months or true stages `[n]`.
        sex: `[n]`, `female`, `male` or null.
    """
    cuts = load_data_facts(run_folder)["stage_cuts"]
    if task == "stage":
        return joined(of, stage_names(cuts))[of]
    return _of_cases(_groups_by_sex(of, np.asarray(sex, object), cuts), of, sex, cuts)


def _groups_by_sex(months: np.ndarray, sex: np.ndarray, cuts: str) -> dict[str, list[str]]:
    """By sex, the name of the group of each predicted stage."""
    stages = {name: _stages(months[sex == name], name, cuts) for name in SEXES}
    return {
        name: [f"{name}, predicted {group}" for group in joined(stage, stage_names(cuts))]
        for name, stage in stages.items()
    }


def _of_cases(groups: dict[str, list[str]], months, sex, cuts: str) -> np.ndarray:
    """The name of the group of each case `[n]`."""
    stages = {name: _stages(months, name, cuts) for name in SEXES}
    named = [np.array(groups[name])[stages[name]] for name in SEXES]
    return np.select([np.asarray(sex) == name for name in SEXES], named, "sex unknown")


def fit(months: np.ndarray, truth: np.ndarray, sex: pd.Series, stage_cuts: str) -> Intervals:
    """Intervals around a model's months.

    Args:
        months: what the model predicts for calibration cases `[n]`; of an ensemble, cross-fitted.
        truth: bone age, months `[n]`.
        sex: `[n]`, `female`, `male` or null.
        stage_cuts: see `stages.parse_cuts`.
    """
    months, sex = np.asarray(months, float), np.asarray(sex, object)
    error = np.abs(months - np.asarray(truth, float))
    scaled = error / _usual_out_of_fold(months, error)
    half_widths = {"plain": {"": quantiles(error)}, "scaled": {"": quantiles(scaled)}}
    groups = _groups_by_sex(months, sex, stage_cuts)
    of_case = _of_cases(groups, months, sex, stage_cuts)
    every = pd.isna(sex).all()  # no group of a sex has cases then
    names = itertools.chain(*groups.values())
    half_widths["mondrian"] = {of: quantiles(error[every | (of_case == of)]) for of in names}
    return Intervals(stage_cuts, *_usual_error(months, error), groups, half_widths)


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


def fit_stage_sets(probabilities: np.ndarray, stage: np.ndarray) -> Limits:
    """Sets around a model's probabilities `[n, 5]` of calibration cases; true stages `[n]`, 0..4.

    Those of an ensemble are cross-fitted. Gives, by kind and level ("0.9"), for each stage what its
    probability may lack to 1; None where the calibration cases are too few for that level.
    """
    lacked = 1 - probabilities[np.arange(len(stage)), stage]
    limits = {}
    each = np.full(STAGES, ""), joined(stage, "01234")
    for kind, of_stage in zip(SET_KINDS, each, strict=True):
        found = [quantiles(lacked[of_stage[stage] == group]) for group in of_stage]
        limits[kind] = {level: [of[level] for of in found] for level in map(str, LEVELS)}
    return limits


def held_stages(limits: Limits, probabilities: np.ndarray, kind: str, level: float) -> np.ndarray:
    """Whether each stage is in the set of each case, `[n, 5]`; the most likely one always is."""
    most = np.array(limits[kind][str(level)], float)  # None becomes NaN: the set holds the stage
    held = ~(1 - probabilities > most)
    held[np.arange(len(held)), probabilities.argmax(axis=1)] = True
    return held


def fit_all(run_folder: Path, task: str) -> None:
    """Fit intervals of months, or sets of stages, of every model with predictions of the task.

    Raises InputError where a model has no labelled case of calibration.
    """
    for model in predictions.saved_models(run_folder, task):
        fit_model(run_folder, model, task)


def fit_model(run_folder: Path, model: str, task: str) -> None:
    """Fit the intervals or sets of one model and write them; raises InputError as `fit_all`."""
    rows = predictions.fitting_rows(run_folder, model, task)
    if rows.empty:
        raise InputError(f"{model}.{task} predicts no case of calibration: intervals need some.")
    if task == "age":
        cuts = load_data_facts(run_folder)["stage_cuts"]
        content = asdict(fit(rows["predicted_months"], rows["age_months"], rows["sex"], cuts))
    else:
        probabilities = rows[predictions.STAGE_COLUMNS].to_numpy(float)
        content = {"limits": fit_stage_sets(probabilities, rows["stage"].to_numpy(int))}
    path = run_folder / NAMES[task].format(model)
    write_json(path, content | {"model": model, "calibration_cases": len(rows)})


def count_quantiles(fitted: Intervals | Limits, kind: str) -> int:
    """How many quantiles the intervals or sets of a kind have."""
    if isinstance(fitted, Intervals):
        return len(fitted.half_widths[kind])
    return len(set(zip(*fitted[kind].values(), strict=True)))


def has_intervals(run_folder: Path, model: str, task: str) -> bool:
    """Whether intervals or sets were fitted for a model: notebook 05 does it."""
    return bool(find_run_files(run_folder, NAMES[task].format(model)))


def load(run_folder: Path, model: str, task: str) -> Intervals | Limits:
    """The intervals or sets of a model; InputError where they were not made, or are damaged."""
    path = find_run_file(run_folder, NAMES[task].format(model))
    content = read_json(path)
    try:
        if task == "age":
            return Intervals(**{one.name: content[one.name] for one in fields(Intervals)})
        return content["limits"]
    except KeyError as lacking:
        raise InputError(f"{path} lacks {lacking}. Run notebook 05 again.") from None


def told_ends(
    run_folder: Path, model: str, months: np.ndarray, sex: pd.Series
) -> np.ndarray | None:
    """`ends` of `TOLD_KIND` and `TOLD_LEVEL`, or None where the model has no intervals."""
    if not has_intervals(run_folder, model, "age"):
        return None
    return ends(load(run_folder, model, "age"), months, sex, TOLD_KIND, TOLD_LEVEL)


def coverage(
    run_folder: Path, model: str, task: str, split: str, fitted_in: Path | None = None
) -> pd.DataFrame:
    """COLUMNS and a size, one row per kind, level and group.

    Groups are all, each sex, band of age and true stage; of intervals each sex by predicted stage,
    too: those of kind `mondrian`. `quantiles` is how many a kind has: fewer than groups where
    calibration has too few cases for some. `coverage` is a share with Wilson's 95 % interval.
    `promised`: the level is promised to the group, as none of its quantiles serves a case outside
    it. `chance`: see `chance_of_so_few`. The size is `width_months`, the mean width of the
    intervals, or `mean_stages`, how many of the five stages a set holds on average. `fitted_in` is
    the run folder that holds the intervals, if it is another.
    """
    rows = case_errors(run_folder, model, task, split)
    fitted = load(fitted_in or run_folder, model, task)
    calibration = predictions.fitting_rows(fitted_in or run_folder, model, task)
    kinds, size = KINDS, "width_months"
    if task == "stage":
        kinds, size = SET_KINDS, "mean_stages"
        rows = rows[rows["stage"].notna()].reset_index(drop=True)
        probabilities = rows[predictions.STAGE_COLUMNS].to_numpy(float)
    names = load_data_facts(run_folder)["stage_names"]
    of_group = groups(rows) | stage_groups(rows["stage"], names)
    if task == "age":
        predicted = stage_groups(rows["predicted_stage"], names).items()
        for sex, (name, chosen) in itertools.product(SEXES, predicted):
            of_group[f"{sex}, predicted {name}"] = chosen & (rows["sex"] == sex).to_numpy()
    told = []
    for kind, level in itertools.product(kinds, LEVELS):
        if task == "age":
            limits = ends(fitted, rows["predicted_months"], rows["sex"], kind, level)
            held, sizes = inside(limits, rows["age_months"]), np.ptp(limits, axis=1)
        else:
            stages = held_stages(fitted, probabilities, kind, level)
            held = stages[np.arange(len(rows)), rows["stage"].to_numpy(int)]
            sizes = stages.sum(axis=1)
        # The interval of unknown sex spans a girl's.
        known = rows.assign(sex=rows["sex"].fillna(SEXES[0]))
        of = _quantile_of(fitted, kind, known, calibration)
        fitted_on = Counter(_quantile_of(fitted, kind, calibration, calibration))
        for group, chosen in of_group.items():
            if chosen.any():
                score = metrics.score_share(held[chosen])
                of_kind = kind, count_quantiles(fitted, kind), level
                promised = not np.isin(of[chosen], of[~chosen]).any()
                chance = chance_of_so_few(held[chosen].sum(), of[chosen], fitted_on, level)
                score = *score, promised, chance, float(sizes[chosen].mean())
                told.append((*of_kind, group, *score))
    return pd.DataFrame(told, columns=[*COLUMNS, size])


def chance_of_so_few(held: int, of: np.ndarray, fitted_on: dict[str, int], level: float) -> float:
    """How likely so few cases or fewer are held, over draws of calibration and of new cases.

    How many of some new cases are held by the quantile of `c` errors follows a beta-binomial law
    (Vovk, JMLR W&CP 2012;25:475-490), which is wider than the binomial one: the calibration cases
    are a draw, too. Cases under several quantiles sum.

    Args:
        held: how many are.
        of: the name of the quantile of each case `[n]`.
        fitted_on: how many calibration cases each quantile has.
        level: the share that is promised, 0 to 1.
    """
    from scipy.stats import betabinom  # it takes a second, and most of what loads this does not

    law = np.ones(1)
    for name, n in Counter(of).items():
        rank = quantile_rank(fitted_on[name], level)
        part = np.eye(n + 1)[n]  # without a quantile all are held
        if rank <= fitted_on[name]:
            part = betabinom.pmf(np.arange(n + 1), n, rank, fitted_on[name] + 1 - rank)
        law = np.convolve(law, part)
    return float(law[: held + 1].sum())


def _quantile_of(fitted, kind: str, rows: pd.DataFrame, calibration: pd.DataFrame) -> np.ndarray:
    """The name of the quantile that each of some rows `[n]` is held by."""
    if kind == "mondrian":
        return _of_cases(fitted.groups, rows["predicted_months"], rows["sex"], fitted.stage_cuts)
    if kind == "by stage":
        return joined(calibration["stage"].to_numpy(int), "01234")[rows["stage"].to_numpy(int)]
    return np.full(len(rows), "")


def _usual_error(months: np.ndarray, error: np.ndarray) -> tuple[list[float], list[float]]:
    """Mean error of the cases around each of some knots, which split the cases evenly."""
    bins = np.array_split(np.argsort(months, kind="stable"), max(1, min(KNOTS, len(months) // 10)))
    knots = [float(months[rows].mean()) for rows in bins]
    return knots, [max(SMALLEST_USUAL_ERROR, float(error[rows].mean())) for rows in bins]


def _usual_out_of_fold(months: np.ndarray, error: np.ndarray) -> np.ndarray:
    """The usual error `[n]` at each case, estimated from the others: its own would flatter it."""
    fold = np.random.default_rng(SEED).permutation(len(months)) % FOLDS
    usual = np.full(len(months), SMALLEST_USUAL_ERROR)
    for held_out in range(FOLDS):
        others, here = fold != held_out, fold == held_out
        if others.any():
            usual[here] = np.interp(months[here], *_usual_error(months[others], error[others]))
    return usual


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
