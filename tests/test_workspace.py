"""Where radiographs and outputs of earlier notebooks are found: here, and below Kaggle's inputs."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from conftest import write_radiographs
from IPython.core.interactiveshell import InteractiveShell

from nbhelpers import results, workspace
from nbhelpers.data import cases

ROOT = Path(__file__).parents[1]
SETUP = "".join(
    json.loads((ROOT / "notebooks" / "01_preprocessing.ipynb").read_text())["cells"][2]["source"]
)


@pytest.fixture
def kaggle(tmp_path: Path, monkeypatch) -> Path:
    """An empty folder in place of /kaggle/input, on Kaggle."""
    inputs = tmp_path / "kaggle" / "input"
    inputs.mkdir(parents=True)
    monkeypatch.setattr(workspace, "KAGGLE_INPUT", inputs)
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Interactive")
    return inputs


READ = {"unreadable": None, "found": True, "doubts": ""}


def write_outputs(folder: Path, source: Path, first: int = 0) -> Path:
    """What notebook 01 leaves of a folder of radiographs, without its pictures."""
    table = cases.read_cases(source)
    geometry = pd.DataFrame({"image_sha256": [sha256(path) for path in table["image_path"]]})
    table, _ = cases.keep_readable(table, geometry.assign(**READ))
    cases.save_cases(folder, table, cases.fingerprint(source, cases.read_cases(source)))
    save_results(folder, "01_preprocessing")
    return folder


def sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def save_results(folder: Path, run: str) -> None:
    record = results.Record(folder, run, "test", run, {}, 0.0)
    results.save(record, headline=("", ""))


@pytest.mark.parametrize("place", ["rsna-bone-age", "datasets/kmader/rsna-bone-age"])
def test_the_rsna_set_is_found_wherever_kaggle_mounts_it(kaggle: Path, place: str):
    assert workspace.find_data_folder("") is None
    found = write_radiographs(kaggle / place, cases=3)
    assert workspace.find_data_folder("") == found


@pytest.mark.parametrize("place", ["rsna", "drive/MyDrive/studies/rsna"])
def test_on_colab_the_rsna_set_is_found(tmp_path: Path, monkeypatch, place: str):
    monkeypatch.setattr(workspace, "COLAB", tmp_path)
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release")
    assert workspace.find_data_folder("") is None
    found = write_radiographs(tmp_path / place, cases=3)
    assert workspace.find_data_folder("") == found


def test_download_asks_kagglehub_and_says_what_to_do_where_it_cannot(tmp_path: Path, monkeypatch):
    fetched = SimpleNamespace(dataset_download=lambda name: tmp_path / name)
    monkeypatch.setitem(sys.modules, "kagglehub", fetched)
    assert workspace.find_data_folder("download") == tmp_path / "kmader" / "rsna-bone-age"
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(workspace.InputError, match="pip install kagglehub"):
        workspace.find_data_folder("download")


@pytest.mark.parametrize("place", ["outputs", "notebooks/someone/outputs/reports/interactive"])
def test_attached_outputs_serve_as_if_they_lay_in_the_run_folder(
    kaggle: Path, radiographs: Path, tmp_path: Path, place: str, capsys, monkeypatch
):
    """Outputs of a later notebook hold no case table; both are attached to a third."""
    first = write_outputs(kaggle / place, radiographs)
    later = kaggle / "notebooks" / "someone" / "later" / "reports" / "interactive"
    (later / "predictions").mkdir(parents=True)
    result = workspace.read_json(first / "results" / "01_preprocessing.json")
    workspace.write_json(later / "results" / "02_cnn.json", result | {"run": "02_cnn"})
    folder = workspace.open_run_folder(str(tmp_path / "run"))
    printed = capsys.readouterr().out
    assert str(first) in printed and str(later) in printed
    # Looked for when the folder is opened, and not again.
    monkeypatch.setattr(workspace, "KAGGLE_INPUT", tmp_path / "never looked at")
    assert workspace.find_run_file(folder, "cases.parquet") == first / "cases.parquet"
    assert len(cases.load_cases(folder)) == 40
    save_results(folder, "04_hog_xgboost.age")
    found = [result["run"] for result in results.read_all_results(folder)]
    assert found == ["01_preprocessing", "02_cnn", "04_hog_xgboost.age"]
    own = workspace.find_run_file(folder, "results/04_hog_xgboost.age.json")
    assert own.is_relative_to(folder), "the run folder's own files come first"


def test_outputs_of_others_are_left_out(kaggle: Path, radiographs: Path, tmp_path: Path, capsys):
    others = write_radiographs(tmp_path / "others", cases=30, first_id=5000)
    write_outputs(kaggle / "others", others)
    (kaggle / "unrelated" / "predictions").mkdir(parents=True)
    workspace.write_json(kaggle / "unrelated" / "results" / "metrics.json", {"auc": 0.9})
    folder = write_outputs(tmp_path / "run", radiographs)
    workspace.open_run_folder(str(folder))
    printed = capsys.readouterr().out
    left_out = f"{kaggle / 'others'}, {kaggle / 'unrelated'}"
    assert f"left out because they were made from other radiographs: {left_out}" in printed
    assert len(results.read_all_results(folder)) == 1


@pytest.mark.parametrize("to", ["kaggle/input/datasets/another/set", "run/synthetic-40-0-v4"])
def test_moved_radiographs_and_no_others_are_found(kaggle: Path, tmp_path: Path, to: str, capsys):
    """By their path within the folder: among the inputs, or beside the case table."""
    source = write_radiographs(tmp_path / "before" / "synthetic-40-0-v4")
    folder = write_outputs(tmp_path / "run", source)
    now = tmp_path / to
    now.parent.mkdir(parents=True, exist_ok=True)
    source.rename(now)
    cases._folder_now.cache_clear()
    table = cases.load_cases(folder)
    assert all(Path(path).is_relative_to(now) for path in table["image_path"])
    assert [sha256(path) for path in table["image_path"]] == table["image_sha256"].tolist()
    assert cases.report_originals(table) and "gone" not in capsys.readouterr().out
    now.rename(tmp_path / "elsewhere")
    write_radiographs(kaggle / "other", side=9)  # files of the same names
    cases._folder_now.cache_clear()
    table = cases.load_cases(folder)
    assert table["image_path"].isna().all() and not cases.report_originals(table)
    assert "radiographs of 40 of 40 cases are gone" in capsys.readouterr().out


def test_a_notebook_shows_the_message_of_an_input_error_alone(capsys):
    shell = InteractiveShell.instance()
    code = "from nbhelpers.workspace import InputError\nraise InputError('epochs is 0.')"
    assert not shell.run_cell(code).success
    assert capsys.readouterr().out.strip() == "InputError: epochs is 0."


@pytest.mark.parametrize(
    "place",
    [
        "kaggle/input/datasets/someone/archive/suite-main",
        "kaggle/usr/lib/notebooks/someone/suite",
        "content/suite",
        "work",
        "",
        None,
    ],
)
def test_the_set_up_cell_finds_the_module(tmp_path: Path, place: str | None):
    """Started in an empty folder `work`, without the project on the path."""
    (tmp_path / "work").mkdir()
    module = tmp_path / str(place) / "nbhelpers" / "workspace.py"
    if place is not None:
        module.parent.mkdir(parents=True)
        module.touch()
        module.with_name("__init__.py").touch()
    source = SETUP.replace('Path("/', f'Path("{tmp_path}/')
    source += "\nimport nbhelpers.workspace\nprint(nbhelpers.workspace.__file__)"
    # Without the packages of this environment, where the project is installed, and PYTHONPATH.
    command = [sys.executable, "-I", "-S", "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path / "work")
    if place is None:
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("nbhelpers was not found: on Kaggle attach")
    else:
        assert done.stdout.strip() == str(module)


def test_windows_is_refused_in_one_line_that_names_wsl2():
    source = f"import os; os.name = 'nt'\n{SETUP}"
    commands = [[sys.executable, "-I", "-c", source], ["make", "-C", ROOT, "OS=Windows_NT", "help"]]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode and "install WSL2" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_another_backend_than_tensorflow_is_refused(monkeypatch):
    workspace.require_tensorflow()  # what the tests run on
    monkeypatch.setattr("keras.backend.backend", lambda: "jax")
    with pytest.raises(workspace.InputError, match=r"runs on jax .* KERAS_BACKEND=tensorflow"):
        workspace.require_tensorflow()
    monkeypatch.setitem(sys.modules, "keras.backend", None)  # as where its packages are missing
    with pytest.raises(workspace.InputError, match="a backend that cannot be loaded"):
        workspace.require_tensorflow()


@pytest.mark.parametrize(
    ("name", "notebook"),
    [
        ("images.hand.npy", "01_preprocessing"),
        ("models/vgg16.age.keras", "03_transfer_learning"),
        ("models/cnn.age.intervals.json", "05_ensembling"),
    ],
)
def test_what_is_missing_is_named_with_its_notebook(tmp_path: Path, name: str, notebook: str):
    with pytest.raises(workspace.InputError, match=f"Run notebook {notebook} into"):
        workspace.find_run_file(tmp_path, name)


def test_a_lock_is_shared_only_by_those_who_share(tmp_path: Path):
    code = "from nbhelpers import workspace; import pathlib, sys; "
    code += "workspace.lock_folder(pathlib.Path(sys.argv[1]), alone=sys.argv[2] == 'alone')"

    def other(how: str) -> str:
        words = [sys.executable, "-c", code, tmp_path, how]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stderr

    with workspace.lock_folder(tmp_path, alone=True) as held:
        assert f"in use by process {os.getpid()}." in other("shared")
        workspace.take_lock(held, alone=False)
        assert other("shared") == ""
        assert f"in use by process {os.getpid()}." in other("alone")
    assert other("alone") == ""


def looked_at(number: int, words: str) -> str:
    """Stands in for what a worker does with one file."""
    if words == "end" and number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if words == "refuse" and number == 3:
        raise workspace.InputError("3.png is empty.")
    return f"{number} {words}"


def test_work_on_all_cores_comes_back_in_order_and_says_what_went_wrong(monkeypatch):
    monkeypatch.setenv("NBHELPERS_CORES", "2")
    for words, said in (("refuse", r"3\.png is empty"), ("end", "most likely for lack of memory")):
        with pytest.raises(workspace.InputError, match=said):
            list(workspace.parallel(looked_at, range(9), words))
    expected = [f"{number} in turn" for number in range(9)]
    assert list(workspace.parallel(looked_at, range(9), "in turn")) == expected
