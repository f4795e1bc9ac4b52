"""A tiny project for tests of the batch: notebooks that finish in no time, and no radiographs."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).parents[2]
PARAMETERS = """run = ""  # name of this run
run_folder = ""  # where it writes
profile = ""  # the profile it belongs to
data_folder = ""  # folder of radiographs
model = "none"  # name of the model – or none
steps = 3  # 1 to 10
rate = 1e-3  # 0.0 to 1.0
flip = True  # True or False
exclude_unreadable = False  # True or False
score_doubtful = False  # True or False"""
# What `results.save` writes, without its need of a case table.
SAVE = """import json, pathlib, time
results = pathlib.Path(run_folder) / "results" / f"{run}.json"
results.parent.mkdir(parents=True, exist_ok=True)
content = {"run": run, "title": run, "scores": [], "seconds": 0.1}
content["switches"] = [exclude_unreadable, score_doubtful]
results.with_suffix(".new").write_text(json.dumps({**content, "steps": steps, "at": time.time()}))
results.with_suffix(".new").replace(results)"""


def write_notebook(path: Path, *code: str, parameters: str = PARAMETERS, title: str = "") -> None:
    """A notebook: title, parameters cell, then the code cells."""
    cells = [new_markdown_cell(f"# {title or path.stem}"), new_code_cell(parameters)]
    cells[1].metadata["tags"] = ["parameters"]
    notebook = new_notebook(cells=[*cells, *(new_code_cell(source) for source in code)])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata["kernelspec"] = kernel
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def write_project(folder: Path, runs: dict[str, str], **code: str) -> Path:
    """A project with profile `demo`: run name -> its YAML; `code` by notebook, else SAVE alone."""
    shutil.copy(ROOT / "Snakefile", _made(folder) / "Snakefile")
    for run, settings in runs.items():
        notebook = run.partition(".")[0]
        write_notebook(
            folder / "notebooks" / f"{notebook}.ipynb", code.get(f"n{notebook[:2]}", SAVE)
        )
        (_made(folder / "params" / "demo") / f"{run}.yaml").write_text(settings)
    return folder


def command(project: Path, *arguments: str) -> list[str]:
    """`python -m nbhelpers.batch` for the project, on two cores unless the arguments say more."""
    use = [] if "--cores" in arguments else ["--cores", "2"]
    start = [sys.executable, "-m", "nbhelpers.batch", *arguments]
    return [*start, "--project", str(project), *use]


def execute(project: Path, *arguments: str, **options: object) -> subprocess.CompletedProcess:
    """Run `python -m nbhelpers.batch` to its end."""
    return subprocess.run(
        command(project, *arguments),
        capture_output=True,
        text=True,
        cwd=project,
        **{"env": clean_environment(project), "timeout": 180, **options},
    )


def make_report(project: Path) -> list[str]:
    """`make report` as committed, with this environment in place of .venv."""
    shutil.copy(ROOT / "Makefile", project / "Makefile")
    for name in ("requirements.lock", "pyproject.toml", "installed"):
        (project / name).touch()
    return ["make", "report", f"BIN={Path(sys.executable).parent}", "INSTALLED=installed"]


def clean_environment(project: Path) -> dict[str, str]:
    """This environment without what an enclosing batch may have set.

    It names the project, so that `processes_of` finds whatever the batch started.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NBHELPERS_")}
    return {**kept, "PROJECT_OF_TEST": str(project)}


def started(output: str) -> list[str]:
    """The runs that a batch started, in order."""
    lines = [line.split() for line in output.splitlines()]
    return [words[2] for words in lines if len(words) == 3 and words[1] == "started"]


def processes_of(folder: Path) -> list[psutil.Process]:
    """Living processes that have the folder on their command line or in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.status() != psutil.STATUS_ZOMBIE and any(
                str(folder) in word for word in words
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [process for process in found if process.pid != os.getpid()]


def wait_for(condition: object, seconds: float = 120.0) -> None:
    """Wait until `condition()` is true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
