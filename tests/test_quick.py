"""A notebook that is opened first asks for what it reads, or has it made."""

import json
from pathlib import Path

import pytest

from nbhelpers import quick
from nbhelpers.workspace import InputError


@pytest.fixture
def made(monkeypatch) -> list[str]:
    """Notebooks that were run small, instead of running them."""
    names: list[str] = []

    def run_small(notebook: str, run_folder: Path, task: str) -> None:
        names.append(notebook)

    monkeypatch.setattr(quick, "run_small", run_small)
    return names


def test_without_notebook_01_one_sentence_says_what_to_do(tmp_path: Path, made):
    with pytest.raises(InputError, match=r"Run that one first; on Kaggle attach .* quick = True"):
        quick.require(tmp_path, "05_ensembling", quick=False)
    (tmp_path / "cases.parquet").touch()
    quick.require(tmp_path, "05_ensembling", quick=False)  # of which models, others say
    quick.require(tmp_path, "01_preprocessing", quick=True)
    assert made == []


def test_quick_makes_in_order_what_is_missing_and_nothing_twice(tmp_path: Path, made):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "cnn.age.keras").touch()
    quick.require(tmp_path, "09_external", quick=True)
    assert made == ["01_preprocessing", "04_hog_xgboost"]
    quick.require(tmp_path, "05_ensembling", quick=True, task="stage")
    assert made[2:] == ["01_preprocessing", "02_cnn_tuning", "04_hog_xgboost"]


def test_what_fails_in_an_earlier_notebook_is_said_in_one_line(tmp_path: Path, monkeypatch):
    notebooks = tmp_path / "project" / "notebooks"
    notebooks.mkdir(parents=True)
    monkeypatch.setattr(quick, "__file__", str(tmp_path / "project" / "nbhelpers" / "quick.py"))
    with pytest.raises(InputError, match="clone the whole repository"):
        quick.run_small("01_preprocessing", tmp_path)
    cell = {"cell_type": "code", "execution_count": None, "outputs": [], "id": "a"}
    cell |= {"metadata": {"tags": ["parameters"]}, "source": "quick = False"}
    failing = cell | {
        "id": "b",
        "metadata": {},
        "source": "raise ValueError((quick, run_folder, task))",
    }
    content = {"cells": [cell, failing], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (notebooks / "01_preprocessing.ipynb").write_text(json.dumps(content))
    with pytest.raises(InputError) as raised:
        quick.run_small("01_preprocessing", tmp_path, "stage")
    assert str(raised.value) == f"01_preprocessing.ipynb: ValueError: (True, '{tmp_path}', 'stage')"
