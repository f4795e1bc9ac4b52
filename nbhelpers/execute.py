"""Run notebooks headless: one run with papermill, or a whole profile.

    python -m nbhelpers.execute profile demo --data path/to/rsna-bone-age
    python -m nbhelpers.execute run demo 04_hog_xgboost.age
    python -m nbhelpers.execute score --run demo --data path/to/other/radiographs

Exit status: 0 all complete, 1 a notebook failed, 2 the input cannot be used.
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path

from nbhelpers import keeper, locks, options, profiles, scoring, states
from nbhelpers.workspace import InputError, atomic_path, cores, explained_errors, log

COMPLETE, FAILED, UNUSABLE = 0, 1, 2
IN_USE = "{folder} is in use by process {{process}}. Wait for it, or name another folder with RUN=."


def main(arguments: list[str] | None = None) -> int:
    """The command line. User errors become one line and status 2."""
    chosen = options.parse(arguments)
    # jsonschema would build the grammar of international addresses when papermill imports it:
    # more than a second in every run, and no notebook holds one.
    sys.modules.setdefault("rfc3987_syntax", None)
    if chosen.bound:
        keeper.die_with(chosen.bound)
    try:
        project = options.find_project(chosen.project)
        folder = options.find_run_folder(project, chosen)
        data = options.find_data(chosen.data)
        if chosen.command == "score":
            profile, run = scoring.scoring_run(project, folder, data)
            return run_alone(project, folder, profile, run, "", chosen)
        options.find_weights(chosen.weights)
        if chosen.command == "run":
            profile = profiles.read_profile(project, chosen.profile, chosen.weights)
            run = profiles.find_run(profile, chosen.name)
            return run_alone(project, folder, profile, run, data, chosen)
        from nbhelpers import batch

        return batch.run_profile(project, folder, data, chosen)
    except InputError as error:
        # Inside a batch, standard error is Snakemake's log.
        inside = getattr(chosen, "inside", False)
        print(f"Error: {error}", file=sys.stdout if inside else sys.stderr, flush=True)
        return UNUSABLE


def run_alone(
    project: Path,
    folder: Path,
    profile: profiles.Profile,
    run: profiles.Run,
    data: str,
    chosen: argparse.Namespace,
) -> int:
    """One run, refused while something else works on it or on the whole folder."""
    busy, inside = IN_USE.format(folder=folder), getattr(chosen, "inside", False)
    with contextlib.ExitStack() as held:
        if not inside:
            from nbhelpers import kernels

            kernels.require_kernel(profile.kernel_name, profile.folder / profiles.SHARED)
            held.enter_context(locks.hold(states.lock_path(folder, "folder"), busy, shared=True))
        lock = states.lock_path(folder, run.name)
        held.enter_context(locks.hold(lock, busy, wait=locks.PATIENCE if inside else 0.0))
        status = execute_run(project, folder, profile, run, data, chosen.cores)
    from nbhelpers import index_page

    index_page.write_index(folder, profile.name, [run.name for run in profile.runs])
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
        states.mark_done(folder, run.name, run.weights)
        log(f"finished {run.name} in {report.duration(seconds)}: {_short(page, project)}")
        return COMPLETE
    log(f"FAILED   {run.name} after {report.duration(seconds)}: {_short(page, project)}")
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
        kernels.environment(use),
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
                stdout_file=kernels.LinePrinter(run.name),
                kernel_manager_class=manager,
            )
        except PapermillExecutionError as error:
            problem = {"error": error.ename, "message": error.evalue, "cell": error.exec_count}
        except DeadKernelError:
            message = "The kernel died in mid-run: it was killed or ran out of memory."
            problem = {"error": "DeadKernel", "message": message}
    return problem


def _written(path: Path) -> tuple[int, int] | None:
    """What changes when a file is replaced."""
    return (path.stat().st_mtime_ns, path.stat().st_ino) if path.exists() else None


def _short(path: Path, project: Path) -> str:
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


if __name__ == "__main__":
    sys.exit(main())
