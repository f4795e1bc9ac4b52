"""What a notebook that is opened first lacks: asked for in one sentence, or made small.

With `quick = True` the earlier notebooks run first, each as small as it gets, on the radiographs
that are there or on drawn ones.
"""

import subprocess
from pathlib import Path

from nbhelpers.workspace import InputError, find_run_files, progress

FIRST = "01_preprocessing"
NETWORK, TREES = "02_cnn_tuning", "04_hog_xgboost"  # the quickest to make a model of each kind
MODELS = {NETWORK: "cnn", TREES: "hog"}  # what they call theirs
# What a notebook reads, in the order in which it is made; without `quick` any models will do.
NEEDS = {
    NETWORK: (FIRST,),
    "03_transfer_learning": (FIRST,),
    TREES: (FIRST,),
    "05_ensembling": (FIRST, NETWORK, TREES),
    "06_grad_cam": (FIRST, NETWORK),
    "07_bias_analysis": (FIRST, NETWORK, TREES),
    "09_external": (FIRST, NETWORK, TREES),
}


def reads(run: str) -> bool:
    """Whether a run's notebook reads what others left."""
    return run.partition(".")[0] in NEEDS


def require(run_folder: Path, notebook: str, quick: bool, task: str = "age") -> None:
    """See to it that a run folder holds what a notebook reads.

    Args:
        run_folder: as `workspace.open_run_folder` gave it; attached outputs count.
        notebook: name of the notebook, without `.ipynb`.
        quick: make what is missing; some minutes.
        task: of the models that it reads, `age` or `stage`.

    Raises InputError where notebook 01 has not been run and `quick` is off, and where an earlier
    notebook fails.
    """
    needs = NEEDS.get(notebook, ()) if quick else NEEDS.get(notebook, ())[:1]
    made = {need: f"models/{MODELS.get(need)}.{task}.*" for need in needs}
    made[FIRST] = "cases.parquet"
    missing = [need for need in needs if not find_run_files(run_folder, made[need])]
    if missing and not quick:
        raise InputError(
            f"{run_folder} holds no output of notebook {FIRST}, which this notebook reads. Run "
            "that one first; on Kaggle attach its output (Add Input, Your Work); or set "
            "quick = True among the parameters, for a small version of all that is missing."
        )
    if missing:
        for need in progress(missing, len(missing), "earlier notebooks, small"):
            run_small(need, run_folder, task)


def run_small(notebook: str, run_folder: Path, task: str = "age") -> None:
    """Run a notebook of this project with `quick = True`; raises InputError where it fails."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    path = Path(__file__).parents[1] / "notebooks" / f"{notebook}.ipynb"
    if not path.is_file():
        raise InputError(f"quick needs {path.name} in {path.parent}: clone the whole repository.")
    content = nbformat.read(path, as_version=4)
    for cell in content.cells:
        if "parameters" in cell.metadata.get("tags", []):
            cell.source += f"\nquick = True  # True or False\nrun_folder = {str(run_folder)!r}"
            cell.source += f"\ntask = {task!r}"
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(content, timeout=None, kernel_name="python3", resources=where)
    try:
        client.execute(stderr=subprocess.DEVNULL)  # what the kernel itself says is no output
    except CellExecutionError as error:
        raise InputError(f"{path.name}: {error.ename}: {error.evalue}") from error
