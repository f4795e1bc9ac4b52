"""Score prediction tables, split by split, beside predictors that look at no picture.

The only room that reads predictions of the test split. It keeps a list, `test_scored.jsonl`, of the
prediction tables whose test rows it has opened, so a page can say how often test was looked at.

A model of ages is scored twice: on months (task `age`), and on the stage that its months fall into
(task `stage`, under the name `<model> (derived)`), where cases of unknown sex have no stage.
Trivial predictors, fitted on train alone, are scored on the same rows under their own names.
Labels come from the case table, not from the prediction table.
"""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd

from nbhelpers import metrics, paired, predictions
from nbhelpers.cases import load_cases, load_data_facts, stage_of
from nbhelpers.workspace import InputError, explained_errors, hash_of

SCORED_SPLITS = ("tuning", "calibration", "test", "external")
DERIVED = " (derived)"
TRIVIAL = "trivial: "
COLUMNS = ["model", "task", "split", "metric", "n", "value", "lower", "upper"]
TEST_LIST = "test_scored.jsonl"


def evaluate(
    run_folder: Path, model: str, task: str, learnt_in: Path | None = None
) -> pd.DataFrame:
    """Scores of a model and of the trivial predictors: COLUMNS, a row a split and metric.

    `value`, `lower` and `upper` are NaN where a metric is not defined. A split without predictions
    is left out, one with some raises InputError. `learnt_in`: the run folder of train, if another.
    """
    rows, cuts = _scored_rows(run_folder, model, task)
    train = load_cases(learnt_in or run_folder).query("split == 'train'")
    blocks = []
    for split in SCORED_SPLITS:
        part = rows[rows["split"] == split]
        if task == "age":
            blocks += _age_blocks(part, model, split, train)
        blocks += _stage_blocks(part, model, split, train, task, cuts)
    return pd.concat(blocks, ignore_index=True)[COLUMNS]


def _age_blocks(part: pd.DataFrame, model: str, split: str, train: pd.DataFrame) -> list:
    if part.empty:
        return []
    predicted = {
        model: part["predicted_months"],
        f"{TRIVIAL}mean age": np.full(len(part), train["age_months"].mean()),
        f"{TRIVIAL}mean age by sex": mean_age_by_sex(train, part["sex"]),
    }
    return [
        metrics.score_ages(part["age_months"], months).assign(model=name, task="age", split=split)
        for name, months in predicted.items()
    ]


def _stage_blocks(
    part: pd.DataFrame, model: str, split: str, train: pd.DataFrame, task: str, cuts: str
) -> list:
    known = part[part["stage"].notna()]
    if known.empty:
        return []
    majority = train["stage"].dropna().mode()
    predicted = {f"{TRIVIAL}majority stage": np.full(len(known), stage) for stage in majority[:1]}
    if task == "age":
        by_sex = mean_age_by_sex(train, known["sex"])
        predicted[f"{TRIVIAL}mean age by sex{DERIVED}"] = stage_of(by_sex, known["sex"], cuts)
        predicted[f"{model}{DERIVED}"] = known["predicted_stage"]
    else:
        predicted[model] = known["predicted_stage"]
    return [
        metrics.score_stages(known["stage"], stage).assign(model=name, task="stage", split=split)
        for name, stage in reversed(predicted.items())
    ]


def mean_age_by_sex(train: pd.DataFrame, sex: pd.Series) -> np.ndarray:
    """The mean age in train of each case's sex, months; of all of train where sex is unknown."""
    means = train.groupby("sex")["age_months"].mean()
    return sex.map(means).astype(float).fillna(train["age_months"].mean()).to_numpy()


def case_errors(run_folder: Path, model: str, task: str, split: str) -> pd.DataFrame:
    """One row a case of a split: the case table's columns, the prediction, `error` and `correct`.

    `predicted_months` and `error_months` (predicted minus true) for task "age", the probabilities
    for "stage"; `predicted_stage` for both, `correct` null where the stage is unknown.
    """
    rows, _ = _scored_rows(run_folder, model, task)
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
    worst = part["error_months"].abs().sort_values(ascending=False, kind="stable").index[:count]
    return part.loc[worst].reset_index(drop=True)


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
    """Paired difference, a minus b, of mean absolute months or of the share of wrong stages.

    Gives n, value, lower, upper: below 0, a is better. Cases are those that both predicted.
    """
    parts = [case_errors(run_folder, model, task, split) for model in (model_a, model_b)]
    errors = [_errors(part, task).rename(name) for part, name in zip(parts, "ab", strict=True)]
    both = pd.concat(errors, axis=1, join="inner")
    return paired.compare_errors(both["a"], both["b"])


def _errors(part: pd.DataFrame, task: str) -> pd.Series:
    part = part.set_index("case_id")
    if task == "age":
        return part["error_months"].abs()
    return 1.0 - part["correct"].dropna().astype(float)


def tables_scored_on_test(run_folder: Path) -> pd.DataFrame:
    """The distinct prediction tables whose test rows were opened: model, task, hash, time (UTC)."""
    path = run_folder / TEST_LIST
    lines = path.read_text().splitlines() if path.exists() else []
    table = pd.DataFrame(
        [json.loads(line) for line in lines], columns=["model", "task", "hash", "time"]
    )
    return table.drop_duplicates(["model", "task", "hash"], ignore_index=True)


def _scored_rows(run_folder: Path, model: str, task: str) -> tuple[pd.DataFrame, str]:
    """Labelled rows with their predictions and predicted stage, and the cuts of the stages."""
    cases = load_cases(run_folder)
    cuts = load_data_facts(run_folder)["stage_cuts"]
    table = predictions.all_rows(run_folder, model, task)
    values = [name for name in table.columns if name not in predictions.CASE_COLUMNS]
    then = table[["case_id", "split", *values]].rename(columns={"split": "split_then"})
    predicted = cases.merge(then, on="case_id")
    remedy = f"Run the notebook that makes {model} again."
    if len(predicted) < len(table) or (predicted["split"] != predicted["split_then"]).any():
        raise InputError(f"predictions of {model}.{task} belong to other splits. {remedy}")
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
    _note_test(run_folder, model, task, predicted[predicted["split"] == "test"], values)
    return predicted.drop(columns="split_then"), cuts


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
    with explained_errors(path), path.open("a") as file:
        file.write(line + "\n")
