"""The notebooks as people run them on Kaggle and Colab, with no parameter but `quick`.

Each is a process of its own in the folders that the two have: inputs read-only, no network, the
notebook alone in the working folder, the module found by the set-up cell. `make platforms` runs
what continuous integration does, with the versions of Kaggle's image; `make places` all of it, and
Colab's with its own versions. Both print a table: seconds, seconds to the first figure, files left.
"""

import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import nbformat
import pytest

from nbhelpers.phantom import dataset
from nbhelpers.workspace import read_json

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
# Binds the folder $1 to /$2, makes its inputs read-only, cuts the network off but for the loopback
# that kernels talk through, and becomes the rest of the command.
INSIDE = """set -e
mount --make-rprivate /
mount --bind "$1" "/$2"
if [ -d "/$2/input" ]; then
    mount --bind "$1/input" "/$2/input"
    mount -o remount,bind,ro "/$2/input"
fi
ip link set lo up || true
cd "$3"
shift 3
exec "$@\""""
# Runs the notebook $1 into $2, with the lines $3 after its parameters.
EXECUTE = """import sys
import nbformat
from nbclient import NotebookClient
content = nbformat.read(sys.argv[1], as_version=4)
(cell,) = [one for one in content.cells if "parameters" in one.metadata.get("tags", [])]
cell.source += "\\n" + sys.argv[3]
try:
    NotebookClient(content, timeout=None, kernel_name="python3").execute()
finally:
    nbformat.write(content, sys.argv[2])"""
KAGGLE = {"KAGGLE_KERNEL_RUN_TYPE": "Interactive"}
COLAB = {"COLAB_RELEASE_TAG": "release"}
NEW_MOUNT, OLD_MOUNT = "datasets/kmader/rsna-bone-age", "rsna-bone-age"
QUICK = "quick = True  # True or False"
MOST_FILES = 100

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(
        not sys.platform.startswith("linux") or os.geteuid() != 0,
        reason="mounting /kaggle and /content for one process takes root on Linux",
    ),
]


@pytest.fixture(autouse=True)
def mounted():
    """The folders to mount on, made for the test where there are none."""
    made = [place for place in (Path("/kaggle"), Path("/content")) if not place.exists()]
    for place in made:
        place.mkdir()
    yield
    for place in made:
        place.rmdir()


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory) -> Path:
    return dataset.write_radiographs(tmp_path_factory.mktemp("rsna"), 140)


def copy_suite(to: Path) -> Path:
    """The repository's files that notebooks need."""
    for name in ("nbhelpers", "notebooks", "params"):
        shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", to)
    return to


def kaggle_place(folder: Path, radiographs: Path, mount: str = NEW_MOUNT) -> Path:
    """/kaggle with the suite attached as an archive, and the radiographs."""
    place = folder / "kaggle"
    copy_suite(place / "input" / "datasets" / "someone" / "archive" / "suite-main")
    shutil.copytree(radiographs, place / "input" / mount)
    (place / "working").mkdir()
    return place


def inside(place: Path, words: list[str], variables: dict[str, str], cwd: str, online=False):
    """Run a command where `place` is /<its name>; returns what it printed."""
    home = place.parent / "home"
    home.mkdir(exist_ok=True)
    kept = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home)}
    kept |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    cut = ["unshare", "--mount", *(() if online else ("--net",))]
    command = [*cut, "sh", "-c", INSIDE, "sh", place, place.name, cwd, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=kept | variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def run(name: str, place: Path, settings: str = QUICK, online: bool = False) -> dict:
    """Run a notebook alone in the working folder; returns its results file."""
    kaggle = place.name == "kaggle"
    cwd = "/kaggle/working" if kaggle else "/content"
    executed = place.parent / f"{name}.ipynb"
    words = [sys.executable, "-c", EXECUTE, str(ROOT / "notebooks" / executed.name)]
    inside(place, [*words, str(executed), settings], KAGGLE if kaggle else COLAB, cwd, online)
    cells = nbformat.read(executed, as_version=4).cells
    outputs = [(cell, one) for cell in cells for one in cell.get("outputs", [])]
    pictured = [(cell, one) for cell, one in outputs if "image/png" in one.get("data", {})]
    assert pictured and all(one["metadata"]["image/png"]["alt"] for _, one in pictured)
    first, all_of_it = (seconds_until(cells, cell) for cell in (pictured[0][0], cells[-1]))
    left = [path for path in (place / "working" if kaggle else place).rglob("*") if path.is_file()]
    left = [path for path in left if path.suffix not in (".html", ".keras", ".ubj")]
    print(f"\n{place.name} {name}: {all_of_it:.0f} s, figure {first:.0f} s, {len(left)} files")
    (found,) = place.rglob(f"results/{name}.json")
    return read_json(found)


def seconds_until(cells: list, cell: dict) -> float:
    """From the start of the first code cell to the end of `cell`."""
    first = next(one for one in cells if one.cell_type == "code")
    start, end = first.metadata["execution"], cell.metadata["execution"]
    read = datetime.fromisoformat
    return (read(end["shell.execute_reply"]) - read(start["iopub.execute_input"])).total_seconds()


def attach_outputs(place: Path) -> Path:
    """Another session: what was written lies among the inputs, the working folder is empty."""
    attached = place / "input" / "notebooks" / "someone" / "earlier"
    attached.mkdir(parents=True)
    (place / "working" / "reports").rename(attached / "reports")
    return attached


def test_all_in_order_on_kaggle(tmp_path: Path, radiographs: Path):
    place = kaggle_place(tmp_path, radiographs)
    assert run(NOTEBOOKS[0], place)["figures"]["data"] == "real"
    for name in NOTEBOOKS[1:]:
        found = run(name, place)
    data = read_json(place / "working" / "reports" / "quick" / "data.json")
    assert found["fingerprint"] == data["fingerprint"]["hash"]


@pytest.mark.parametrize("name", ["03_transfer_learning", "06_grad_cam", "07_bias_analysis"])
def test_one_with_the_outputs_of_01_attached(name: str, tmp_path: Path, radiographs: Path):
    """What else it reads is made small; the radiographs are found at another mount than before."""
    place = kaggle_place(tmp_path, radiographs, OLD_MOUNT)
    run(NOTEBOOKS[0], place, "image_size = 64  # 16 to 2048")
    attached = attach_outputs(place)
    moved = place / "input" / NEW_MOUNT
    moved.parent.mkdir(parents=True)
    (place / "input" / OLD_MOUNT).rename(moved)
    found = run(name, place)
    data = read_json(attached / "reports" / "interactive" / "data.json")
    assert found["fingerprint"] == data["fingerprint"]["hash"]
    assert name != NOTEBOOKS[6] or found["tables"]["stress"], "the originals were found"


@pytest.mark.thorough
@pytest.mark.parametrize("mount", [NEW_MOUNT, OLD_MOUNT])
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_alone_on_kaggle(name: str, mount: str, tmp_path: Path, radiographs: Path):
    run(name, kaggle_place(tmp_path, radiographs, mount))


@pytest.mark.thorough
def test_a_whole_profile_on_kaggle(tmp_path: Path, radiographs: Path):
    """As the script of `make kaggle` runs it: from the attached copy, without Snakemake."""
    place = kaggle_place(tmp_path, radiographs)
    words = [sys.executable, "-m", "nbhelpers.batch", "profile", "smoke", "--weights", "none"]
    said = inside(place, words, KAGGLE, "/kaggle/input/datasets/someone/archive/suite-main")
    assert "runs done in" in said
    left = [path for path in (place / "working").rglob("*") if path.is_file()]
    left = [path for path in left if path.suffix != ".html" and path.parent.name != "models"]
    print(f"\nkaggle, profile smoke: {len(left)} files besides models and pages")
    assert len(left) <= MOST_FILES


@pytest.mark.colab
def test_all_in_order_on_colab(tmp_path: Path, radiographs: Path):
    """From a clone; Keras Tuner, which is not there, is installed by the set-up cell."""
    place = tmp_path / "content"
    copy_suite(place / "suite")
    shutil.copytree(radiographs, place / "drive" / "MyDrive" / "rsna")
    for name in NOTEBOOKS:
        assert run(name, place, online=True)["hardware"]["platform"] == "colab"
    # Deleted to make room: what needs the originals is left out, and nothing fails.
    shutil.rmtree(place / "drive")
    assert "stress" not in run(NOTEBOOKS[6], place, online=True)["tables"]
