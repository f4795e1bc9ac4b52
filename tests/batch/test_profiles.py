"""Profiles: every mistake in a parameter file is named before any work starts."""

from pathlib import Path

import pytest
from batch_tools import PARAMETERS, ROOT, write_notebook, write_project
from papermill import inspect_notebook

from nbhelpers import parameters
from nbhelpers.batch import profiles
from nbhelpers.models import backbones
from nbhelpers.workspace import InputError, write_json

RUNS = {"01_preprocessing": "steps: 2\n", "02_cnn_tuning.age": "model: cnn\nrate: 0.5\n"}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHARED = "data_folder: somewhere\nflip: false\nkernel_name: python3\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose profile passes every check."""
    folder = write_project(tmp_path, RUNS)
    (folder / "params" / "demo" / "_profile.yaml").write_text(SHARED)
    return folder


def setting(project: Path, text: str, run: str = "02_cnn_tuning.age") -> None:
    (project / "params" / "demo" / f"{run}.yaml").write_text(text)


def problem(project: Path, name: str = "demo") -> str:
    """The message that reading the profile ends with: one line."""
    with pytest.raises(InputError) as caught:
        profiles.read_profile(project, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_gets_its_own_values_over_the_shared_ones_that_it_declares(project: Path):
    setting(project, "model: cnn\nflip: true\nrate: 1.0e-05\n")
    other = PARAMETERS.replace("rate", "pace")
    write_notebook(project / "notebooks" / "01_preprocessing.ipynb", parameters=other)
    with (project / "params" / "demo" / "_profile.yaml").open("a") as shared:
        shared.write("rate: 1\n")
    first, second = profiles.read_profile(project, "demo").runs
    assert first.parameters == {"data_folder": "somewhere", "flip": False, "steps": 2}
    assert second.parameters["flip"] is True and second.parameters["rate"] == 1e-5


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda one: one.stem)
def test_parameters_are_those_that_papermill_sees(notebook: Path):
    seen = {name for name in inspect_notebook(str(notebook)) if not name.startswith("_")}
    assert set(parameters.declared_parameters(notebook)) == seen


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("modell: cnn\n", ["02_cnn_tuning.age.yaml", "modell", "Did you mean model?"]),
        ("rate: 1e-5\n", ["rate", "It is a text here: write 0.00001, without"]),
        ("model:\n", ["model must be a number, text, true or false", "None"]),
        ("model: [cnn, hog]\n", ["model must be a number, text, true or false"]),
        ("- model\n", ["must hold lines `name: value`"]),
        ("model: 'cnn\n", ["is not valid YAML"]),
        ("run_folder: here\n", ["run_folder is given by the batch"]),
    ],
)
def test_a_wrong_line_is_named_with_its_file_and_a_remedy(project: Path, text: str, parts: list):
    setting(project, text)
    message = problem(project)
    assert all(part in message for part in ["02_cnn_tuning.age.yaml", *parts]), message


def test_two_runs_that_write_the_same_are_refused(project: Path):
    setting(project, "model: cnn\nsteps: 9\n", "02_cnn_tuning.again")
    message = problem(project)
    assert "02_cnn_tuning.age.yaml" in message and "both write model cnn." in message
    declared = f'{PARAMETERS}\ntask = "age"  # or stage'
    write_notebook(project / "notebooks" / "02_cnn_tuning.ipynb", parameters=declared)
    setting(project, "model: cnn\ntask: stage\n", "02_cnn_tuning.again")
    assert len(profiles.read_profile(project, "demo").runs) == 3


def test_views_of_one_case_table_differ_in_the_pictures_alone(project: Path):
    own = '\nview = "hand"  # name\nimage_size = 128  # pixels\nstage_cuts = "years"  # cuts'
    notebook = project / "notebooks" / "01_preprocessing.ipynb"
    write_notebook(notebook, parameters=PARAMETERS + own)
    setting(project, "image_size: 64\n", "01_preprocessing.frame")
    assert "both write view hand." in problem(project)
    setting(project, "view: frame\nimage_size: 64\n", "01_preprocessing.frame")
    assert len(profiles.read_profile(project, "demo").runs) == 3
    setting(project, "view: frame\nstage_cuts: gilsanz_ratib\n", "01_preprocessing.frame")
    message = problem(project)
    assert "01_preprocessing.frame.yaml" in message and "set it in _profile.yaml" in message
    assert "stage_cuts is 'years'" in message and "'gilsanz_ratib'" in message


def test_unknown_profile_notebook_run_and_shared_key_are_named_with_the_nearest(project: Path):
    assert "Did you mean demo?" in problem(project, "dmo")
    assert "There is no profile '../params'" in problem(project, "../params")
    setting(project, "", "02_cnn_tunning")
    assert "Did you mean 02_cnn_tuning?" in problem(project)
    (project / "params" / "demo" / "02_cnn_tunning.yaml").unlink()
    with pytest.raises(InputError, match=r"Did you mean 02_cnn_tuning\.age\?"):
        profiles.find_run(profiles.read_profile(project, "demo"), "02_cnn_tuning.aeg")
    (project / "params" / "demo" / "_profile.yaml").write_text("data_foldr: x\n")
    assert "Did you mean data_folder?" in problem(project)


@pytest.mark.parametrize(
    ("score_folder", "made_from", "data", "kept"),
    [
        ("", None, "", True),
        ("", None, "real", False),
        ("", "synthetic-40-1-v4", "", True),
        ("", "rsna", "", False),
        ("clinic", "rsna", "", True),
    ],
)
def test_only_a_named_folder_is_scored_by_models_of_real_radiographs(
    tmp_path: Path, score_folder: str, made_from: str | None, data: str, kept: bool
):
    write_project(
        tmp_path, {"01_preprocessing": "", "09_external": f"score_folder: '{score_folder}'"}
    )
    declared = f'{PARAMETERS}\nscore_folder = ""  # folder to score'
    write_notebook(tmp_path / "notebooks" / "09_external.ipynb", parameters=declared)
    if made_from:
        write_json(tmp_path / "data.json", {"fingerprint": {"data_folder": f"/of/me/{made_from}"}})
    profile = profiles.read_profile(tmp_path, "demo")
    shown = profiles.without_unnamed_scoring(profile, tmp_path, data)
    assert [run.name[:2] for run in shown.runs] == ["01", "09"][: 1 + kept]


def test_runs_wait_for_the_nearest_earlier_group_that_there_is(tmp_path: Path):
    numbers = {"01": "preprocessing", "02": "cnn_tuning", "04": "hog_xgboost"}
    numbers |= {"05": "ensembling", "07": "bias_analysis"}
    write_project(tmp_path, {f"{n}_{name}": f"model: m{n}\n" for n, name in numbers.items()})

    def waits_for() -> dict[str, list[str]]:
        runs = profiles.read_profile(tmp_path, "demo").runs
        return {run.name[:2]: [up.name[:2] for up in profiles.upstream(runs, run)] for run in runs}

    expected = {"01": [], "02": ["01"], "04": ["01"], "05": ["02", "04"], "07": ["05"]}
    assert waits_for() == expected
    (tmp_path / "params" / "demo" / "05_ensembling.yaml").unlink()
    assert waits_for()["07"] == ["02", "04"]


def test_profiles_and_networks_call_weights_the_same():
    """Twice, since profiles are read where nothing may import Keras."""
    assert {*profiles.IMAGENET} == {backbones.IMAGENET, backbones.IMAGENET_IF_FOUND}
    assert profiles.RANDOM_WEIGHTS == backbones.NO_WEIGHTS


def comparing(tmp_path: Path, compared: str) -> tuple[profiles.Run, ...]:
    """Runs 03_transfer_learning.a, .b and .c, whose models are compared with those named."""
    settings = {
        f"03_transfer_learning.{name}": f"model: {name}\ncompare_with: '{other.strip('-')}'\n"
        for name, other in zip("abc", compared, strict=True)
    }
    write_project(tmp_path, settings)
    declared = PARAMETERS + '\ntask = "age"\ncompare_with = ""\n'
    write_notebook(tmp_path / "notebooks" / "03_transfer_learning.ipynb", parameters=declared)
    return profiles.read_profile(tmp_path, "demo").runs


def test_a_run_waits_for_the_model_it_is_compared_with(tmp_path: Path):
    a, b, c = runs = comparing(tmp_path, "cc-")
    assert [profiles.upstream(runs, run) for run in (a, b, c)] == [[c], [c], []]
    profiles.check_comparisons(runs)


@pytest.mark.parametrize("compared", ["d--", "a--", "ba-"])
def test_a_comparison_that_cannot_be_is_refused(tmp_path: Path, compared: str):
    with pytest.raises(InputError, match=r"03_transfer_learning.a.yaml: compare_with is"):
        profiles.check_comparisons(comparing(tmp_path, compared))


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "params").glob("*")))
def test_the_profiles_of_the_suite_pass(name: str):
    profiles.check_comparisons(profiles.read_profile(ROOT, name).runs)
