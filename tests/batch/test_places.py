"""What Kaggle and Colab get: set-up cells and badges of one address, and folders to upload."""

import json
import shutil
from pathlib import Path

import pytest

from nbhelpers.batch import places
from nbhelpers.workspace import RSNA_ON_KAGGLE, InputError, read_json

ROOT = Path(__file__).parents[2]
ADDRESS = "https://github.com/someone/fork"


@pytest.fixture
def fork(tmp_path: Path) -> Path:
    """A copy of the repository with an address of its own."""
    for name in ("notebooks", "params", "nbhelpers"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("LICENSE", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    settings = (ROOT / "pyproject.toml").read_text()
    before = f'repository = "{places.repository(ROOT)}"'
    (tmp_path / "pyproject.toml").write_text(settings.replace(before, f'repository = "{ADDRESS}"'))
    return tmp_path


def cells_of(path: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


def test_every_notebook_has_the_one_set_up_cell():
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = cells_of(path)
        assert cells[places.SETUP_CELL] == places.setup_cell(places.repository(ROOT)), path.name


def test_a_fork_changes_its_address_in_one_place(fork: Path):
    places.write_notebooks(fork)
    once = {path: path.read_text() for path in (fork / "notebooks").glob("*.ipynb")}
    places.write_notebooks(fork)
    for path, text in once.items():
        assert path.read_text() == text
        title, _, setup, *_ = cells_of(path)
        assert f"keras-tuner git+{ADDRESS}" in setup
        assert (
            f"colab.research.google.com/github/someone/fork/blob/main/notebooks/{path.name}"
            in title
        )
        assert f"welcome?src={ADDRESS}/blob/main/notebooks/{path.name}" in title
    settings = fork / "pyproject.toml"
    settings.write_text(settings.read_text().replace(ADDRESS, "git@github.com:someone/fork"))
    with pytest.raises(InputError, match=r"pyproject\.toml: repository is 'git@"):
        places.write_notebooks(fork)


def test_the_folders_for_kaggle_attach_what_each_notebook_reads(tmp_path: Path):
    places.write_kaggle_folders(tmp_path / "kaggle", "someone", ROOT)
    kernels = {
        path.parent.name: read_json(path)
        for path in sorted((tmp_path / "kaggle").glob("*/kernel-metadata.json"))
    }
    assert len(kernels) == len(list((ROOT / "notebooks").glob("*.ipynb"))) + 1
    ids = {kernel["id"] for kernel in kernels.values()}
    for name, kernel in kernels.items():
        assert (tmp_path / "kaggle" / name / kernel["code_file"]).is_file()
        assert kernel["id"] == "someone/" + kernel["title"].replace(" ", "-")
        assert {*kernel["kernel_sources"]} <= ids and RSNA_ON_KAGGLE in kernel["dataset_sources"]
    assert kernels["01_preprocessing"]["kernel_sources"] == []
    assert kernels["02_cnn_tuning"]["kernel_sources"] == ["someone/bone-age-01-preprocessing"]
    assert len(kernels["05_ensembling"]["kernel_sources"]) == 4
    assert kernels["02_cnn_tuning"]["enable_gpu"] and not kernels["01_preprocessing"]["enable_gpu"]
    pushed = tmp_path / "kaggle" / "03_transfer_learning" / "03_transfer_learning.ipynb"
    assert 'weights = "imagenet"  #' in cells_of(pushed)[4]
    suite = tmp_path / "kaggle" / "suite"
    assert (
        read_json(suite / "dataset-metadata.json")["id"]
        in kernels["07_bias_analysis"]["dataset_sources"]
    )
    assert (suite / "nbhelpers" / "workspace.py").is_file() and (suite / "params").is_dir()
    compile((tmp_path / "kaggle" / "everything" / "run_all.py").read_text(), "run_all.py", "exec")
    with pytest.raises(InputError, match="name of a Kaggle account"):
        places.write_kaggle_folders(tmp_path / "kaggle", "", ROOT)
