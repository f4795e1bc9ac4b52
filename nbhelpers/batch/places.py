"""What other places need of this repository: Kaggle's and Colab's ways to find and open it.

    python -m nbhelpers.batch.places                 the notebooks' set-up cells and badges
    python -m nbhelpers.batch.places --owner NAME    folders for Kaggle's command line, in build/

The address of the repository stands in `pyproject.toml`, for a fork to change. Without one there
are no badges, and Colab's users clone the repository by hand.
"""

import argparse
import json
import re
import shutil
import tomllib
from pathlib import Path

from nbhelpers.batch.profiles import GROUPS
from nbhelpers.workspace import RSNA_ON_KAGGLE, InputError, log, write_json, write_text

PROJECT = Path(__file__).parents[2]
SETUP = Path(__file__).parent / "templates" / "setup_cell.txt"
SETUP_CELL = 2  # of every notebook, behind the title and the answer
SUITE = ("nbhelpers", "notebooks", "params", "pyproject.toml", "LICENSE", "README.md")
SUITE_NAME = "bone-age-suite"
# What runs a whole profile on Kaggle, from the attached copy of the suite.
RUN_ALL = """import subprocess
import sys
from pathlib import Path

(module,) = Path("/kaggle/input").glob("**/nbhelpers/batch/__main__.py")
command = [sys.executable, "-m", "nbhelpers.batch", "profile", "kaggle"]
sys.exit(subprocess.run(command, cwd=module.parents[2]).returncode)
"""


def repository(project: Path = PROJECT) -> str:
    """The https address of the repository, "" where none is given; raises InputError for others."""
    settings = tomllib.loads((project / "pyproject.toml").read_text())["tool"]["nbhelpers"]
    address = settings["repository"].rstrip("/")
    if address and not re.fullmatch(r"https://github\.com/[\w-]+/[\w.-]+", address):
        raise InputError(
            f"{project / 'pyproject.toml'}: repository is {address!r}. Write "
            "https://github.com/<owner>/<name>, or leave it empty."
        )
    return address


def setup_cell(address: str) -> str:
    """The set-up cell of every notebook; with an address Colab can install nbhelpers from it."""
    source = SETUP.read_text().rstrip("\n")
    return source.replace("keras-tuner", f"keras-tuner git+{address}") if address else source


def badges(notebook: str, address: str) -> str:
    """Links that open a notebook on Kaggle and on Colab, as a line of Markdown."""
    path = f"{address.removeprefix('https://github.com')}/blob/main/notebooks/{notebook}.ipynb"
    kaggle, colab = "https://kaggle.com", "https://colab.research.google.com"
    return (
        f"[![Open in Kaggle]({kaggle}/static/images/open-in-kaggle.svg)]"
        f"({kaggle}/kernels/welcome?src=https://github.com{path}) "
        f"[![Open in Colab]({colab}/assets/colab-badge.svg)]({colab}/github{path})"
    )


def write_notebooks(project: Path = PROJECT) -> None:
    """Put the set-up cell and, where there is an address, the badges into every notebook."""
    address = repository(project)
    for path in sorted((project / "notebooks").glob("*.ipynb")):
        content = json.loads(path.read_text())
        title, setup = content["cells"][0], content["cells"][SETUP_CELL]
        lines = [line for line in title["source"] if not line.startswith("[![")]
        if address:
            lines.insert(1, f"{badges(path.stem, address)}\n")
        title["source"] = lines
        setup["source"] = setup_cell(address).splitlines(keepends=True)
        write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_kaggle_folders(folder: Path, owner: str, project: Path = PROJECT) -> None:
    """Write what `kaggle datasets create` and `kaggle kernels push` take, a folder each.

    Args:
        folder: to write into; what it holds is replaced.
        owner: name of the Kaggle account.
    """
    if not re.fullmatch(r"[a-z0-9_-]+", owner):
        raise InputError(f"OWNER={owner!r}: write the name of a Kaggle account as in its address.")
    shutil.rmtree(folder, ignore_errors=True)
    suite = folder / "suite"
    for name in SUITE:
        copy = shutil.copytree if (project / name).is_dir() else shutil.copy
        suite.mkdir(parents=True, exist_ok=True)
        copy(project / name, suite / name)
    data = {"id": f"{owner}/{SUITE_NAME}", "title": "Bone age suite", "licenses": [{"name": "MIT"}]}
    write_json(suite / "dataset-metadata.json", data)
    notebooks = sorted((project / "notebooks").glob("*.ipynb"))
    group = {number: at for at, numbers in enumerate(GROUPS) for number in numbers}
    for path in notebooks:
        # Where Internet is on, weights may be downloaded.
        text = path.read_text().replace("imagenet if found", "imagenet")
        own = group[int(path.stem[:2])]
        reads = [one.stem for one in notebooks if group[int(one.stem[:2])] < own]
        _write_kernel(folder / path.stem, owner, path.name, text, reads)
    _write_kernel(folder / "everything", owner, "run_all.py", RUN_ALL, [])


def _write_kernel(folder: Path, owner: str, file: str, text: str, reads: list[str]) -> None:
    """A notebook or script and its `kernel-metadata.json`, which attaches the outputs it reads."""
    folder.mkdir()
    (folder / file).write_text(text)
    slug = f"bone-age-{folder.name.replace('_', '-')}"
    kernel = {
        "id": f"{owner}/{slug}",
        "title": slug.replace("-", " "),
        "code_file": file,
        "language": "python",
        "kernel_type": "notebook" if file.endswith(".ipynb") else "script",
        "is_private": True,
        "enable_gpu": folder.name[:2] in ("02", "03", "06") or file == "run_all.py",
        "enable_internet": folder.name[:2] == "03" or file == "run_all.py",  # for weights
        "dataset_sources": [RSNA_ON_KAGGLE, f"{owner}/{SUITE_NAME}"],
        "kernel_sources": [f"{owner}/bone-age-{name.replace('_', '-')}" for name in reads],
        "competition_sources": [],
        "model_sources": [],
    }
    write_json(folder / "kernel-metadata.json", kernel)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m nbhelpers.batch.places")
    parser.add_argument("--owner", default="", help="name of a Kaggle account")
    owner = parser.parse_args().owner
    try:
        if not owner:
            write_notebooks()
            return
        write_kaggle_folders(PROJECT / "build" / "kaggle", owner)
        log("written: build/kaggle. Upload suite first, then push 01 and what reads it:")
        log("  kaggle datasets create --dir-mode zip -p build/kaggle/suite")
        log("  kaggle kernels push -p build/kaggle/01_preprocessing")
    except InputError as error:
        raise SystemExit(f"Error: {error}") from error


if __name__ == "__main__":
    main()
