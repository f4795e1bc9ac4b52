"""Notebooks 01, 04, 05 and 07 as people run them on Kaggle and Colab.

In the folders that those have, as their own processes see them: inputs read-only, no network, the
module found by the set-up cell alone. `make platforms` runs it with the versions of Kaggle's image.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nbhelpers.phantom import dataset
from nbhelpers.workspace import read_json

ROOT = Path(__file__).parents[1]
SMALL = {
    "01_preprocessing": ("image_size", "64"),
    "04_hog_xgboost": ("rounds", "40"),
    "04_hog_xgboost.deep": ("rounds", "20", "max_depth", "4", "model", "deep"),
    "05_ensembling": (),
    "07_bias_analysis": ("n_stressed", "8"),
}
# Binds the folder $1 to /$2, makes its inputs read-only, brings up the loopback that kernels talk
# through, and becomes the rest of the command.
INSIDE = """set -e
mount --make-rprivate /
mount --bind "$1" "/$2"
if [ -d "/$2/input" ]; then
    mount --bind "$1/input" "/$2/input"
    mount -o remount,bind,ro "/$2/input"
fi
ip link set lo up
cd "$3"
shift 3
exec "$@\""""

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or os.geteuid() != 0,
        reason="mounting /kaggle and /content for one process takes root on Linux",
    ),
]


@pytest.fixture
def mounted(request: pytest.FixtureRequest):
    """The folder to mount on, made for the test where there is none."""
    made = []
    for place in (Path("/kaggle"), Path("/content")):
        if not place.exists():
            place.mkdir()
            made.append(place)
    yield
    for place in made:
        place.rmdir()


def copy_suite(to: Path) -> None:
    for name in ("nbhelpers", "notebooks"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))


def run(name: str, suite: str, place: Path, cwd: str, *given: str, **variables: str) -> dict:
    """Run a notebook with papermill where `place` is /<its name>; returns its results file.

    name: of the run, `<notebook>` or `<notebook>.<name>`.
    """
    home = place.parent / "home"
    home.mkdir(exist_ok=True)
    kept = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home)}
    out = f"/{place.name}/{'working/' if place.name == 'kaggle' else ''}{name}.ipynb"
    values = ["run", name, *SMALL[name], *given]
    pairs = zip(values[::2], values[1::2], strict=True)
    notebook = f"{suite}/notebooks/{name.partition('.')[0]}.ipynb"
    papermill = [sys.executable, "-m", "papermill", notebook, out]
    papermill += ["-k", "python3", *(word for pair in pairs for word in ("-p", *pair))]
    command = ["unshare", "--mount", "--net", "sh", "-c", INSIDE, "sh", place, place.name, cwd]
    environment = kept | variables
    done = subprocess.run([*command, *papermill], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    executed = read_json(place.parent / out.lstrip("/"))
    pictures = [
        output["metadata"]["image/png"]["alt"]
        for cell in executed["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert pictures and all(pictures), "figures are shown, each with its text"
    (found,) = place.rglob(f"results/{name}.json")
    return read_json(found)


def test_on_kaggle_with_the_outputs_of_01_attached(tmp_path: Path, mounted):
    place = tmp_path / "kaggle"
    suite = "/kaggle/input/datasets/someone/archive/suite-main"
    copy_suite(tmp_path / suite.lstrip("/"))
    radiographs = place / "input" / "datasets" / "kmader" / "rsna-bone-age"
    dataset.write_radiographs(radiographs, 140)
    (place / "working").mkdir()
    where = (suite, place, "/kaggle/working")
    kaggle = {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
    assert run("01_preprocessing", *where, **kaggle)["figures"]["data"] == "real"
    # The next notebook is another session: it has the outputs as an input, and the radiographs at
    # another mount.
    attached = place / "input" / "notebooks" / "someone" / "preparation"
    attached.mkdir(parents=True)
    (place / "working" / "reports").rename(attached / "reports")
    radiographs.rename(place / "input" / "rsna-bone-age")
    for name in ("04_hog_xgboost", "04_hog_xgboost.deep", "05_ensembling"):
        found = run(name, *where, **kaggle)
        assert {score["split"] for score in found["scores"]} >= {"calibration", "test"}
    stressed = run("07_bias_analysis", *where, **kaggle)["tables"]["stress"]
    assert stressed, "the original radiographs were found at their new place"
    data = read_json(attached / "reports" / "interactive" / "data.json")
    assert found["fingerprint"] == data["fingerprint"]["hash"]


def test_on_colab_from_a_clone_with_a_named_folder(tmp_path: Path, mounted):
    place = tmp_path / "content"
    copy_suite(place / "suite")
    dataset.write_radiographs(place / "rsna", 140)
    where = ("/content/suite", place, "/content")
    colab = {"COLAB_RELEASE_TAG": "release"}
    run("01_preprocessing", *where, "data_folder", "/content/rsna", **colab)
    # Deleted to make room: what needs the originals is left out, and nothing fails.
    shutil.rmtree(place / "rsna")
    for name in ("04_hog_xgboost", "04_hog_xgboost.deep", "05_ensembling"):
        run(name, *where, **colab)
    assert "stress" not in run("07_bias_analysis", *where, **colab)["tables"]
