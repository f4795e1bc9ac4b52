"""Run notebooks headless: one run with papermill, or a whole profile.

    python -m nbhelpers.execute profile demo --data path/to/rsna-bone-age
    python -m nbhelpers.execute run demo 04_hog_xgboost.age

Exit status: 0 all complete, 1 a notebook failed, 2 the input cannot be used.
"""

import argparse
import contextlib
import os
import re
import sys
import time
from pathlib import Path

from nbhelpers import keeper, locks, profiles, states
from nbhelpers.workspace import InputError, atomic_path, cores, explained_errors, log, read_json

COMPLETE, FAILED, UNUSABLE = 0, 1, 2
IN_USE = "{folder} is in use by process {{process}}. Wait for it, or name another folder with RUN=."
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def main(arguments: list[str] | None = None) -> int:
    """The command line. User errors become one line and status 2."""
    options = parse(arguments)
    if options.bound:
        keeper.die_with(options.bound)
    if options.backend:
        os.environ["KERAS_BACKEND"] = options.backend
    try:
        project = find_project(options.project)
        folder = find_run_folder(project, options)
        if options.command == "run":
            return run_alone(project, folder, options)
        from nbhelpers import batch

        return batch.run_profile(project, folder, options)
    except InputError as error:
        print(f"Error: {error}", file=sys.stderr, flush=True)
        return UNUSABLE


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m nbhelpers.execute")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (("profile", "all runs of a profile"), ("run", "one run of a profile")):
        command = commands.add_parser(name, help=text)
        command.add_argument("profile", help="a folder of params/")
        if name == "run":
            command.add_argument("name", help="a file of that folder, without .yaml")
            command.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
        command.add_argument("--run", default="", help="name of the run folder below reports/")
        command.add_argument("--folder", default="", help="the run folder itself, instead of --run")
        command.add_argument("--data", default="", help="folder of radiographs")
        command.add_argument("--backend", default="", help="tensorflow or jax")
        command.add_argument("--cores", type=int, default=0, help="cores to use (default: all)")
        command.add_argument("--project", default="", help="folder with notebooks/ and params/")
        command.add_argument("--bound", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def find_project(named: str) -> Path:
    """The folder with `notebooks` and `params`: as named, else here, else where nbhelpers is."""
    places = [Path(named)] if named else [Path.cwd(), Path(__file__).parents[1]]
    for place in places:
        if (place / "notebooks").is_dir() and (place / "params").is_dir():
            return place.resolve()
    raise InputError(
        f"{places[0]} has no notebooks/ and params/. Run this in the project's folder."
    )


def find_run_folder(project: Path, options: argparse.Namespace) -> Path:
    if options.folder:
        return Path(options.folder).expanduser().resolve()
    name = options.run or options.profile
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise InputError(f"RUN={name!r} must be a plain name: letters, digits, points and dashes.")
    return project / "reports" / name


def find_data(data: str) -> str:
    """DATA as an absolute path; raises InputError when it is not a folder."""
    if data and not Path(data).expanduser().is_dir():
        raise InputError(f"DATA={data} is not a folder. Name the folder of the radiographs.")
    return str(Path(data).expanduser().resolve()) if data else ""


def run_alone(project: Path, folder: Path, options: argparse.Namespace) -> int:
    """One run, refused while something else works on it or on the whole folder."""
    profile = profiles.read_profile(project, options.profile)
    run = profiles.find_run(profile, options.name)
    busy = IN_USE.format(folder=folder)
    with contextlib.ExitStack() as held:
        if not options.inside:
            from nbhelpers import kernels

            kernels.require_kernel(profile.kernel_name, profile.folder / profiles.SHARED)
            held.enter_context(locks.hold(states.lock_path(folder, "folder"), busy, shared=True))
        lock = states.lock_path(folder, run.name)
        held.enter_context(locks.hold(lock, busy, wait=locks.PATIENCE if options.inside else 0.0))
        status = execute_run(project, folder, profile, run, find_data(options.data), options.cores)
    from nbhelpers import index_page

    index_page.write_index(folder, profile)
    return status


def execute_run(
    project: Path, folder: Path, profile: profiles.Profile, run: profiles.Run, data: str, use: int
) -> int:
    """Run one notebook, render its page and record how it went."""
    started = time.time()
    kernel_lock = states.lock_path(folder, f"{run.name}.kernel")
    locks.end_leftovers(kernel_lock)
    states.done_path(folder, run.name).unlink(missing_ok=True)
    before = _written(states.results_path(folder, run.name))
    states.write_state(folder, run.name, states.RUNNING)
    log(f"started  {run.name}")
    try:
        problem = run_notebook(project, folder, profile, run, data, use or cores())
    except InputError as error:
        problem = {"error": InputError.__name__, "message": str(error)}
    except KeyboardInterrupt:
        states.settle(folder, [run.name])
        raise
    locks.end_leftovers(kernel_lock)
    if not problem and _written(states.results_path(folder, run.name)) == before:
        problem = {
            "error": "Incomplete",
            "message": f"The notebook ended without writing results/{run.name}.json: "
            "its last cell did not run, or it saves under another name than `run`.",
        }
    seconds = round(time.time() - started, 1)
    state = states.write_state(
        folder, run.name, states.FAILED if problem else states.DONE, seconds=seconds, **problem
    )
    page = states.page_path(folder, run.name)
    from nbhelpers import report

    report.write_page(folder, run.name, profile.name, state)
    if not problem:
        states.mark_done(folder, run.name)
        log(f"finished {run.name} in {report.duration(seconds)}: {_short(page)}")
        return COMPLETE
    log(f"FAILED   {run.name} after {report.duration(seconds)}: {_short(page)}")
    log(f"         {problem['error']}: {problem['message']}")
    return UNUSABLE if problem["error"] == InputError.__name__ else FAILED


def run_notebook(
    project: Path, folder: Path, profile: profiles.Profile, run: profiles.Run, data: str, use: int
) -> dict[str, object]:
    """Run papermill into `executed/<run>.ipynb`; returns {} or what went wrong.

    The finished notebook replaces the one before it in one step.
    """
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    from nbhelpers import kernels

    executed = states.executed_path(folder, run.name)
    parameters = {
        **run.parameters,
        **({profiles.DATA: data} if data and profiles.DATA in run.declared else {}),
        "run": run.name,
        "run_folder": str(folder),
        "profile": profile.name,
    }
    problem: dict[str, object] = {}
    for stale in executed.parent.glob(f".{run.name}.*.ipynb"):
        stale.unlink(missing_ok=True)  # of an attempt that was killed
    with (
        atomic_path(executed) as output,
        kernels.kernel_manager(states.lock_path(folder, f"{run.name}.kernel")) as manager,
        _environment(use),
        explained_errors(folder),
    ):
        try:
            papermill.execute_notebook(
                run.notebook,
                output,
                parameters,
                kernel_name=profile.kernel_name,
                progress_bar=False,
                cwd=project,
                stdout_file=LinePrinter(run.name),
                kernel_manager_class=manager,
            )
        except PapermillExecutionError as error:
            problem = {"error": error.ename, "message": error.evalue, "cell": error.exec_count}
        except DeadKernelError:
            message = "The kernel died in mid-run: it was killed or ran out of memory."
            problem = {"error": "DeadKernel", "message": message}
    return problem


class LinePrinter:
    """A file for papermill that prints whole lines of a run's output, each with the run's name."""

    def __init__(self, run: str) -> None:
        self.run = run
        self.rest = ""

    def write(self, text: str) -> None:
        *lines, self.rest = (self.rest + text).split("\n")
        for line in lines:
            if line.strip():
                print(f"{self.run} | {line.rsplit(chr(13), 1)[-1]}", flush=True)

    def flush(self) -> None:
        """Lines are printed at once."""


@contextlib.contextmanager
def _environment(use: int):
    """What a kernel of the batch finds in its environment."""
    before = dict(os.environ)
    shared = use < cores()
    os.environ.update(NBHELPERS_HEADLESS="1", NBHELPERS_CORES=str(use))
    if shared:
        for name in THREAD_SETTINGS:
            os.environ.setdefault(name, str(use))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _written(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced."""
    if not path.exists():
        return None
    read_json(path)
    return path.stat().st_mtime_ns, path.stat().st_ino


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    sys.exit(main())
