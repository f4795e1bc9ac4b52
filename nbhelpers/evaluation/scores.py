"""One evaluator for every model: scores alongside trivial predictors that look at no picture.

The only file that reads predictions of the test split. It keeps a list, `test_scored.jsonl`, of the
prediction tables whose test rows it has opened, so a page can say how often test was looked at.

A model of ages is scored twice: on months (task `age`), and on the stage that its months fall into
(task `stage`, under the name `<model> (derived)`), where cases of unknown sex have no stage.
Trivial predictors, fitted on train alone, are scored on the same rows under their own names.
Labels come from the case table, not from the prediction table.
"""

import itertools
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import metrics, predictions
from nbhelpers.data.cases import load_cases, load_data_facts
from nbhelpers.data.stages import SEXES, stage_of
from nbhelpers.workspace import InputError, explained_errors, hash_of

SCORED_SPLITS = ("tuning", "calibration", "test", "external")
DERIVED = " (derived)"
TRIVIAL = "trivial: "
COLUMNS = ["model", "task", "split", "metric", "n", "value", "lower", "upper"]
PAIR_COLUMNS = ["model", "best", "n", "value", "lower", "upper", "p", "p_holm"]
TEST_LIST = "test_scored.jsonl"
# The best model of a task is the one that this score names on this split: everywhere.
RANKED_BY = {"age": "mae", "stage": "qwk"}
CHOOSING_SPLIT = "calibration"
ALL = "all"
BANDS_YEARS = (0, 5, 10, 15, 20)
FEWEST = 10  # cases that an error with its interval takes, where groups are many and small


def evaluate(
    run_folder: Path, model: str, task: str, learnt_in: Path | None = None
) -> pd.DataFrame:
    """Scores of a model and of the trivial predictors: COLUMNS, one row per split and metric.

    `value`, `lower` and `upper` are NaN where a metric is not defined. A split without predictions
    is left out, one with some raises InputError. `learnt_in`: the run folder of train, if another.
    """
    rows, cuts = _scored_rows(run_folder, model, task)
    train = load_cases(learnt_in or run_folder).query("split == 'train'")
    blocks = []
    for split in SCORED_SPLITS:
        part = rows[rows["split"] == split]
        known = part[part["stage"].notna()]
        if task == "age" and len(part):
            for name, months in _months(part, model, train).items():
                scores = metrics.score_ages(part["age_months"], months)
                blocks.append(scores.assign(model=name, task="age", split=split))
        if len(known):
            for name, stage in _stages(known, model, train, task, cuts).items():
                scores = metrics.score_stages(known["stage"], stage)
                blocks.append(scores.assign(model=name, task="stage", split=split))
    return pd.concat(blocks, ignore_index=True)[COLUMNS]


def _months(part: pd.DataFrame, model: str, train: pd.DataFrame) -> dict[str, np.ndarray]:
    """By name, what the model and those that know nothing but train predict."""
    return {
        model: part["predicted_months"],
        f"{TRIVIAL}mean age by sex": age_by_sex(train, part["sex"], "mean"),
        f"{TRIVIAL}median age by sex": age_by_sex(train, part["sex"], "median"),
    }


def _stages(
    known: pd.DataFrame, model: str, train: pd.DataFrame, task: str, cuts: str
) -> dict[str, np.ndarray]:
    """As `_months`, of stages, those that months fall into among them."""
    found = {model + (DERIVED if task == "age" else ""): known["predicted_stage"]}
    if task == "age":
        by_sex = age_by_sex(train, known["sex"], "median")
        found[f"{TRIVIAL}median age by sex{DERIVED}"] = stage_of(by_sex, known["sex"], cuts)
    for majority in train["stage"].dropna().mode()[:1]:
        found[f"{TRIVIAL}majority stage"] = np.full(len(known), majority)
    return found


def age_by_sex(train: pd.DataFrame, sex: pd.Series, middle: str) -> np.ndarray:
    """The `mean` or `median` age in train of each case's sex, months; of all where it is unknown.

    Of what looks at no picture the median has the least absolute error, the mean the least squared.
    """
    of_sex = train.groupby("sex")["age_months"].agg(middle)
    return sex.map(of_sex).astype(float).fillna(train["age_months"].agg(middle)).to_numpy()


def case_errors(run_folder: Path, model: str, task: str, split: str) -> pd.DataFrame:
    """One row a case of a split: the case table's columns, the prediction, `error` and `correct`.

    `predicted_months` and `error_months` (predicted minus true) for task "age", the probabilities
    for "stage"; `predicted_stage` for both, `correct` null where the stage is unknown.
    """
    rows, _ = _scored_rows(run_folder, model, task, opens_test=split == "test")
    part = rows[rows["split"] == split].reset_index(drop=True)
    if part.empty:
        raise InputError(f"{model}.{task} has no predictions of the split {split!r}.")
    if task == "age":
        part["error_months"] = part["predicted_months"] - part["age_months"]
    part["correct"] = part["predicted_stage"] == part["stage"]
    return part


def largest_errors(run_folder: Path, model: str, split: str, count: int = 10) -> pd.DataFrame:
    """The `count` cases of a split whose predicted months lie furthest off, the worst first."""
    part = case_errors(run_folder, model, "age", split)
    return part.loc[part["error_months"].abs().nlargest(count).index].reset_index(drop=True)


def confusion_matrix(run_folder: Path, model: str, task: str, split: str) -> pd.DataFrame:
    """Counts [5, 5] with stage names: row the true stage, column the predicted or derived one."""
    part = case_errors(run_folder, model, task, split)
    known = part[part["stage"].notna()]
    names = load_data_facts(run_folder)["stage_names"]
    counts = metrics.confusion(known["stage"], known["predicted_stage"])
    return pd.DataFrame(counts, index=names, columns=names)


def score_under_cuts(run_folder: Path, model: str, split: str, stage_cuts: str) -> pd.DataFrame:
    """Scores of the stages that months fall into under other cuts than the run's own: COLUMNS."""
    part = case_errors(run_folder, model, "age", split)
    told = [
        stage_of(part[of], part["sex"], stage_cuts) for of in ("age_months", "predicted_months")
    ]
    known = ~(told[0].isna() | told[1].isna())
    scores = metrics.score_stages(*(np.asarray(stages[known], int) for stages in told))
    return scores.assign(model=f"{model} ({stage_cuts} cuts)", task="stage", split=split)[COLUMNS]


def compare_models(
    run_folder: Path, model_a: str, model_b: str, task: str, split: str
) -> dict[str, float | int]:
    """Paired difference, a minus b, of `RANKED_BY`: n, value, lower, upper and p.

    Of ages below 0, of stages above 0, a is better. Cases are those that both predicted.
    """
    a, b = (_predicted(run_folder, model, task, split) for model in (model_a, model_b))
    both = a.merge(b[["case_id", "predicted"]], on="case_id", suffixes=("_a", "_b"))
    return metrics.compare(task, both["truth"], both["predicted_a"], both["predicted_b"])


def _predicted(run_folder: Path, model: str, task: str, split: str) -> pd.DataFrame:
    """`case_id`, `truth` and `predicted`, months or stages; those derived from months too."""
    made_for = "age" if DERIVED in model else task
    rows = case_errors(run_folder, model.removesuffix(DERIVED), made_for, split)
    columns = ["age_months", "predicted_months"] if task == "age" else ["stage", "predicted_stage"]
    rows = rows[["case_id", *columns]].dropna()
    return rows.set_axis(["case_id", "truth", "predicted"], axis=1)


def over_seeds(run_folder: Path, model: str, task: str, split: str) -> tuple[pd.Series, tuple]:
    """The score `RANKED_BY` of each fit of a model that is the mean over seeds, by name.

    Empty of any other model. And the 95 % interval of their mean, over seeds and cases.
    """
    names = predictions.seeds_of(run_folder, model, task)
    if not names:
        return pd.Series(dtype=float), ()
    rows = [_predicted(run_folder, name, task, split) for name in names]
    truth, *said = (one.to_numpy() for one in (rows[0]["truth"], *(r["predicted"] for r in rows)))
    each, *interval = metrics.score_seeds(task, truth, np.stack(said))
    return pd.Series(each, names), tuple(interval)


def ranked(run_folder: Path, task: str) -> pd.Series:
    """The score `RANKED_BY` of every saved model on calibration, the best first.

    Stages derived from months are among those of stages. Raises InputError where no model is saved.
    """
    models = predictions.saved_models(run_folder, task)
    if task == "stage":
        models += [name + DERIVED for name in predictions.saved_models(run_folder, "age")]
    if not models:
        raise InputError(f"{run_folder} has no model of {task}. Run notebooks 01 to 04 first.")
    found = {}
    for model in sorted(models):
        rows = _predicted(run_folder, model, task, CHOOSING_SPLIT)
        if task == "age":
            found[model] = (rows["predicted"] - rows["truth"]).abs().mean()
        else:
            counts = metrics.confusion(rows["truth"], rows["predicted"])
            found[model] = metrics.stage_scores(counts[None])["qwk"].item()
    lower_is_better = RANKED_BY[task] in metrics.LOWER_IS_BETTER
    return pd.Series(found).sort_values(ascending=lower_is_better, kind="stable")


def against_best(run_folder: Path, task: str, split: str) -> pd.DataFrame:
    """PAIR_COLUMNS, one row per model: `compare_models` with the best on calibration.

    `p_holm` is corrected for the number of models (`metrics.holm`), the intervals are not.
    """
    best, *others = ranked(run_folder, task).index
    found = [compare_models(run_folder, model, best, task, split) for model in others]
    table = pd.DataFrame(found, columns=PAIR_COLUMNS[2:-1]).assign(model=others, best=best)
    return table.assign(p_holm=metrics.holm(table["p"]))[PAIR_COLUMNS]


def tables_scored_on_test(run_folder: Path) -> pd.DataFrame:
    """The distinct prediction tables whose test rows were opened: model, task, hash, time (UTC)."""
    path = run_folder / TEST_LIST
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    table = pd.DataFrame(map(json.loads, lines), columns=["model", "task", "hash", "time"])
    return table.drop_duplicates(["model", "task", "hash"], ignore_index=True)


def _scored_rows(
    run_folder: Path, model: str, task: str, opens_test: bool = True
) -> tuple[pd.DataFrame, str]:
    """Labelled rows with their predictions and predicted stage, and the cuts of the stages.

    opens_test: whether the caller looks at rows of the test split, which is then noted.
    """
    cases = load_cases(run_folder)
    cuts = load_data_facts(run_folder)["stage_cuts"]
    table = predictions.all_rows(run_folder, model, task)
    values = [name for name in table.columns if name not in predictions.CASE_COLUMNS]
    facts = ["split", "stage"] if task == "stage" else ["split"]
    predicted = cases.merge(
        table[["case_id", *facts, *values]], on="case_id", suffixes=("", "_then")
    )
    remedy = f"Run the notebook that makes {model} again."
    moved = any((predicted[fact] != predicted[f"{fact}_then"]).any() for fact in facts)
    if len(predicted) < len(table) or moved:
        raise InputError(
            f"predictions of {model}.{task} belong to other splits or stages. {remedy}"
        )
    for split in SCORED_SPLITS:
        made, wanted = (predicted["split"] == split).sum(), (cases["split"] == split).sum()
        if 0 < made < wanted:
            wrong = f"{model}.{task} predicts {made:,} of the {wanted:,} cases of {split}"
            raise InputError(f"{wrong}: a score would leave cases out. {remedy}")
    predicted = predicted[predicted["split"].isin(SCORED_SPLITS)].copy()
    if task == "age":
        stage = stage_of(predicted["predicted_months"], predicted["sex"], cuts)
    else:
        most_likely = predicted[predictions.STAGE_COLUMNS].to_numpy().argmax(axis=1)
        stage = pd.array(most_likely, dtype="Int8")
    predicted["predicted_stage"] = stage
    if opens_test:
        _note_test(run_folder, model, task, predicted[predicted["split"] == "test"], values)
    return predicted.drop(columns=[f"{fact}_then" for fact in facts]), cuts


def _note_test(run_folder: Path, model: str, task: str, test: pd.DataFrame, values: list) -> None:
    if test.empty:
        return
    facts = {"model": model, "task": task}
    facts["hash"] = hash_of([test["case_id"].tolist(), test[values].to_numpy().tolist()])
    known = tables_scored_on_test(run_folder)
    if (known[list(facts)] == list(facts.values())).all(axis=1).any():
        return
    path = run_folder / TEST_LIST
    line = json.dumps(facts | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
    with explained_errors(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def groups(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which rows `[n]` are in each group: all, each sex, each band of age; empty ones left out."""
    of_sex = {sex: (rows["sex"] == sex).to_numpy() for sex in SEXES}
    return _filled({ALL: np.ones(len(rows), bool)} | of_sex | _bands(rows))


def sex_bands(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which rows `[n]` are in each sex by age band, "female, 5 to 10 years"; empty ones left out.

    A case of unknown sex is in none.
    """
    pairs = itertools.product(SEXES, _bands(rows).items())
    return _filled(
        {f"{sex}, {name}": (rows["sex"] == sex).to_numpy() & of for sex, (name, of) in pairs}
    )


def fine_groups(rows: pd.DataFrame, stage_names: Sequence[str]) -> dict[str, np.ndarray]:
    """`groups`, each true stage by its name, and `sex_bands`: which rows `[n]` are in each."""
    return groups(rows) | stage_groups(rows["stage"], stage_names) | sex_bands(rows)


def stage_groups(stage: pd.Series, stage_names: Sequence[str]) -> dict[str, np.ndarray]:
    """Which cases `[n]` are in each stage, by name; a case without a stage is in none."""
    number = stage.to_numpy(float, na_value=np.nan)
    return _filled({name: number == place for place, name in enumerate(stage_names)})


def _bands(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    years = rows["age_months"].to_numpy(float) / 12
    return {
        f"{first} to {last} years": (first <= years) & (years < last)
        for first, last in itertools.pairwise(BANDS_YEARS)
    }


def _filled(found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: chosen for name, chosen in found.items() if chosen.any()}


def collect(results: list[dict], task: str) -> dict[tuple[str, str], dict[str, dict]]:
    """(model, split) -> metric -> score, of all runs; trivial predictors stand in several once."""
    scores: dict[tuple[str, str], dict[str, dict]] = {}
    for result in results:
        for score in result.get("scores", []):
            if score["task"] == task:
                place = scores.setdefault((score["model"], score["split"]), {})
                facts = {"run": result["run"], "marks": result.get("marks", [])}
                place.setdefault(score["metric"], {**score, **facts})
    return scores


def in_order_of_rank(scores: dict, metric: str) -> list[str]:
    """All models by their score on calibration, the best first; trivial ones last."""

    def rank(model: str) -> tuple[bool, float, str]:
        value = _chosen_by(scores, model, metric)
        sign = 1 if metric in metrics.LOWER_IS_BETTER else -1
        return model.startswith(TRIVIAL), np.inf if value is None else sign * value, model

    return sorted({model for model, _ in scores}, key=rank)


def best_model(scores: dict, metric: str) -> str | None:
    """The model with the best score on calibration, or None where none was scored there."""
    first, *_ = in_order_of_rank(scores, metric) or [TRIVIAL]
    scored = not first.startswith(TRIVIAL) and _chosen_by(scores, first, metric) is not None
    return first if scored else None


def _chosen_by(scores: dict, model: str, metric: str) -> float | None:
    """The score on calibration that models are chosen by."""
    return scores.get((model, CHOOSING_SPLIT), {}).get(metric, {}).get("value")
