"""Run notebooks headless: one run with papermill, or a whole profile.

    python -m nbhelpers.batch profile demo --data path/to/rsna-bone-age
    python -m nbhelpers.batch run demo 04_hog_xgboost.age
    python -m nbhelpers.batch score --run demo --data path/to/other/radiographs

Exit status: 0 all complete, 1 a notebook failed, 2 the input cannot be used.

All runs of a profile: checked first, then run by Snakemake, then shown on the index.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from nbhelpers import workspace
from nbhelpers.batch import keeper, kernels, pages, profiles
from nbhelpers.batch import status as batch_status
from nbhelpers.batch.index import write_index
from nbhelpers.batch.profiles import RANDOM_WEIGHTS
from nbhelpers.data import cases
from nbhelpers.workspace import InputError, atomic_path, cores, explained_errors, log, read_json

LOG = "snakemake.log"
LINES_SHOWN = 15  # of Snakemake's log, when it stopped before any run did
BUSY = "{folder} is in use by process {{process}}. Wait for it, or name another folder with RUN=."


def run_profile(project: Path, folder: Path, data: str, options: argparse.Namespace) -> int:
    """Bring every run of a profile up to date; returns 0, or 1 when a run is not complete."""
    started = time.monotonic()
    profile = profiles.read_profile(project, options.profile, options.weights)
    profiles.check_comparisons(profile.runs)
    kernels.require_kernel(profile.kernel_name, profile.folder / profiles.SHARED)
    whole, profile = profile, profiles.without_unnamed_scoring(profile, folder, data)
    for run in whole.runs:
        if run not in profile.runs:
            log(
                f"left out {run.name}: it names no folder to score. To score one with the models "
                f"of this run: make score RUN={folder.name} DATA=folder"
            )
    names = [run.name for run in profile.runs]
    with workspace.hold(batch_status.lock_path(folder, "folder"), BUSY.format(folder=folder)):
        refuse_other_data(folder, data)
        batch_status.forget_incomplete(folder, names)
        batch_status.forget_other_weights(folder, {run.name: run.weights for run in profile.runs})
        before = {name: batch_status.read_state(folder, name) for name in names}
        interrupted = False
        try:
            status = run_snakemake(project, folder, profile, data, options)
        except KeyboardInterrupt:
            interrupted, status = True, 130
        batch_status.settle(folder, names)
        pages.refresh_pages(folder, profile.name, names)
        index = write_index(folder, profile.name, names)
    ran = [name for name in names if batch_status.read_state(folder, name) != before[name]]
    open_runs = [name for name in names if not batch_status.done_path(folder, name).exists()]
    if status and not ran and not interrupted:
        show_log(folder / batch_status.FOLDER / LOG)
    summarise(names, ran, open_runs, time.monotonic() - started)
    print(f"Open {index}", flush=True)
    return 1 if status or open_runs else 0


def run_snakemake(
    project: Path, folder: Path, profile: profiles.Profile, data: str, options: argparse.Namespace
) -> int:
    """Run what is out of date. Snakemake dies with this process, and the runs with Snakemake."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(project / "Snakefile")]
    command += ["--cores", str(options.cores or cores()), "--resources", "gpu=1"]
    command += ["--keep-going", "--rerun-incomplete"]
    # Our own lock has the folder; Snakemake's would stay after a kill.
    command += ["--nolock", "--scheduler", "greedy", "--latency-wait", "0", "--quiet", "all"]
    # Not `code` and `params`: the number of cores or the place of the data changes no figure.
    command += ["--rerun-triggers", "mtime", "input"]
    command += ["--config", f"profile={profile.name}", f"folder={folder}", f"data={data}"]
    command += [f"weights={options.weights}"]
    kept = [sys.executable, "-S", "-E", keeper.__file__, str(os.getpid()), "-", *command]
    with explained_errors(folder), (folder / batch_status.FOLDER / LOG).open("w") as errors:
        process = subprocess.Popen(kept, stderr=errors, stdin=subprocess.DEVNULL, cwd=project)
        try:
            return process.wait()
        except KeyboardInterrupt:
            log("stopping: the runs at work are ended, what is finished is kept")
            process.terminate()
            process.wait()
            raise


def refuse_other_data(folder: Path, data: str) -> None:
    """Raise InputError when the run folder was made from other radiographs than there are now."""
    if not (folder / "data.json").exists():
        return
    facts = read_json(folder / "data.json")
    recorded = facts["fingerprint"]
    place = Path(data or recorded["data_folder"])
    if not place.is_dir():
        log(f"note: {place} is gone; later runs read what {folder.name} has kept")
        return
    external = recorded.get("external_folder")
    external_folder = Path(external) if external else None
    found = cases.read_cases(place, external_folder, facts["stage_cuts"])
    workspace.require_same_fingerprint(folder, cases.fingerprint(place, found, external_folder))


def summarise(names: list[str], ran: list[str], unfinished: list[str], seconds: float) -> None:
    took = pages.duration(seconds)
    if not ran and not unfinished:
        print(f"Nothing to do: all {len(names)} runs are up to date ({took}).")
    elif not unfinished:
        rest = ", the others were up to date" if len(ran) < len(names) else ""
        print(f"{len(ran)} of {len(names)} runs done in {took}{rest}.")
    else:
        print(f"NOT COMPLETE after {took}: {', '.join(unfinished)}.")


def show_log(path: Path) -> None:
    """Print the end of Snakemake's log: nothing ran, so the reason stands there."""
    lines = path.read_text(errors="replace").splitlines()
    for line in lines[-LINES_SHOWN:]:
        print(f"snakemake | {line}", file=sys.stderr)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m nbhelpers.batch")
    commands = parser.add_subparsers(dest="command", required=True)
    score = "another folder of radiographs, by the models of a finished run"
    texts = {"profile": "all runs of a profile", "run": "one run of a profile", "score": score}
    for name, text in texts.items():
        command = commands.add_parser(name, help=text)
        if name != "score":
            command.add_argument("profile", help="a folder of params/")
            command.add_argument("--weights", default="", help="none: random ones, not ImageNet's")
        if name == "run":
            command.add_argument("name", help="a file of that folder, without .yaml")
            command.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
        command.add_argument("--run", default="", help="name of the run folder below reports/")
        command.add_argument("--folder", default="", help="the run folder itself, instead of --run")
        command.add_argument("--data", default="", help="folder of radiographs")
        command.add_argument("--cores", type=int, default=0, help="cores to use (default: all)")
        command.add_argument("--project", default="", help="folder with notebooks/ and params/")
        command.add_argument("--bound", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def find_project(named: str) -> Path:
    """The folder with `notebooks` and `params`: as named, else here, else where nbhelpers is."""
    places = [Path(named)] if named else [Path.cwd(), Path(__file__).parents[2]]
    for place in places:
        if (place / "notebooks").is_dir() and (place / "params").is_dir():
            return place.resolve()
    raise InputError(
        f"{places[0]} has no notebooks/ and params/. Run this in the project's folder."
    )


def find_run_folder(project: Path, options: argparse.Namespace) -> Path:
    if options.folder:
        return Path(options.folder).expanduser().resolve()
    name = options.run or getattr(options, "profile", "")
    if not re.fullmatch(r"[\w-][\w.-]*", name):
        raise InputError(f"RUN={name!r} must be a plain name: letters, digits, points and dashes.")
    return project / "reports" / name


def find_data(data: str) -> str:
    """DATA as an absolute path; raises InputError when it is not a folder."""
    if data and not Path(data).expanduser().is_dir():
        raise InputError(f"DATA={data} is not a folder. Name the folder of the radiographs.")
    return str(Path(data).expanduser().resolve()) if data else ""


def find_weights(weights: str) -> str:
    """WEIGHTS as it was given; raises InputError unless it is empty or "none"."""
    if weights in ("", RANDOM_WEIGHTS):
        return weights
    raise InputError(
        f"WEIGHTS={weights} is not known. WEIGHTS={RANDOM_WEIGHTS} starts from random weights; "
        "leave it out to start as the profile says. A file is named in the run's YAML, by weights."
    )


COMPLETE, FAILED, UNUSABLE = 0, 1, 2


def main(arguments: list[str] | None = None) -> int:
    """The command line. User errors become one line and status 2."""
    chosen = parse(arguments)
    # jsonschema would build the grammar of international addresses when papermill imports it:
    # more than a second in every run, and no notebook holds one.
    sys.modules.setdefault("rfc3987_syntax", None)
    if chosen.bound:
        keeper.die_with(chosen.bound)
    try:
        project = find_project(chosen.project)
        folder = find_run_folder(project, chosen)
        data = find_data(chosen.data)
        if chosen.command == "score":
            profile, run = profiles.scoring_run(project, folder, data)
            return run_alone(project, folder, profile, run, "", chosen)
        find_weights(chosen.weights)
        if chosen.command == "run":
            profile = profiles.read_profile(project, chosen.profile, chosen.weights)
            run = profiles.find_run(profile, chosen.name)
            return run_alone(project, folder, profile, run, data, chosen)
        return run_profile(project, folder, data, chosen)
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
    busy, inside = BUSY.format(folder=folder), getattr(chosen, "inside", False)
    with contextlib.ExitStack() as held:
        if not inside:
            kernels.require_kernel(profile.kernel_name, profile.folder / profiles.SHARED)
            held.enter_context(
                workspace.hold(batch_status.lock_path(folder, "folder"), busy, shared=True)
            )
        lock = batch_status.lock_path(folder, run.name)
        held.enter_context(workspace.hold(lock, busy, wait=workspace.PATIENCE if inside else 0.0))
        status = execute_run(project, folder, profile, run, data, chosen.cores)
    shown = profiles.without_unnamed_scoring(profile, folder, data)
    write_index(folder, profile.name, [run.name for run in shown.runs])
    return status


def execute_run(
    project: Path, folder: Path, profile: profiles.Profile, run: profiles.Run, data: str, use: int
) -> int:
    """Run one notebook, render its page and record how it went."""
    started = time.time()
    kernel_lock = batch_status.lock_path(folder, f"{run.name}.kernel")
    workspace.end_leftovers(kernel_lock)
    batch_status.done_path(folder, run.name).unlink(missing_ok=True)
    before = _written(batch_status.results_path(folder, run.name))
    batch_status.write_state(folder, run.name, batch_status.RUNNING)
    log(f"started  {run.name}")
    try:
        problem = run_notebook(project, folder, profile, run, data, use or cores())
    except InputError as error:
        problem = {"error": InputError.__name__, "message": str(error)}
    except KeyboardInterrupt:
        batch_status.settle(folder, [run.name])
        raise
    workspace.end_leftovers(kernel_lock)
    if not problem and _written(batch_status.results_path(folder, run.name)) == before:
        problem = {
            "error": "Incomplete",
            "message": f"The notebook ended without writing results/{run.name}.json: "
            "its last cell did not run, or it saves under another name than `run`.",
        }
    seconds = round(time.time() - started, 1)
    state = batch_status.write_state(
        folder,
        run.name,
        batch_status.FAILED if problem else batch_status.DONE,
        seconds=seconds,
        **problem,
    )
    page = batch_status.page_path(folder, run.name)
    pages.write_page(folder, run.name, profile.name, state)
    if not problem:
        batch_status.mark_done(folder, run.name, run.weights)
        log(f"finished {run.name} in {pages.duration(seconds)}: {_short(page, project)}")
        return COMPLETE
    log(f"FAILED   {run.name} after {pages.duration(seconds)}: {_short(page, project)}")
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

    executed = batch_status.executed_path(folder, run.name)
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
        kernels.kernel_manager(batch_status.lock_path(folder, f"{run.name}.kernel")) as manager,
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
