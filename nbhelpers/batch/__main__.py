"""Run notebooks headless: one run with papermill, or a whole profile with Snakemake.

    python -m nbhelpers.batch profile demo --data path/to/rsna-bone-age
    python -m nbhelpers.batch run demo 04_hog_xgboost.age
    python -m nbhelpers.batch score --run demo --data path/to/other/radiographs

Exit status: 0 all complete, 1 a notebook failed, 2 the input cannot be used.
"""

import argparse
import graphlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from nbhelpers import workspace
from nbhelpers.batch import pages, profiles, status
from nbhelpers.batch.index import write_index
from nbhelpers.batch.profiles import Profile, Run
from nbhelpers.data import cases
from nbhelpers.workspace import InputError, atomic_path, cores, explained_errors, log

COMPLETE, FAILED, UNUSABLE = 0, 1, 2
LOG = "snakemake.log"
LINES_SHOWN = 15  # of Snakemake's log, when it stopped before any run did
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


def main(arguments: list[str] | None = None) -> int:
    """The command line. User errors become one line and status 2."""
    asked = parse(arguments)
    try:
        asked.project = profiles.find_project(asked.project)
        named = asked.run or asked.profile
        asked.folder = status.find_run_folder(asked.project, asked.folder, named)
        if asked.data or asked.command != "score":  # what is scored has to be named
            asked.data = str(workspace.find_data_folder(asked.data) or "")
        if asked.command == "score":
            profile, run = profiles.scoring_run(asked.project, asked.folder, asked.data)
            asked.data = ""
            return run_alone(profile, run, asked)
        profile = profiles.read_profile(asked.project, asked.profile, asked.weights)
        if asked.command == "run":
            return run_alone(profile, profiles.find_run(profile, asked.name), asked)
        return run_profile(profile, asked)
    except InputError as error:
        # Inside a batch, standard error is Snakemake's log.
        print(f"Error: {error}", file=sys.stdout if asked.inside else sys.stderr, flush=True)
        return UNUSABLE


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m nbhelpers.batch")
    parser.set_defaults(profile="", inside=False)
    commands = parser.add_subparsers(dest="command", required=True)
    texts = {"profile": "all runs of a profile", "run": "one run of a profile"}
    texts["score"] = "another folder of radiographs, by the models of a finished run"
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
        for option, (word, parameter) in profiles.SWITCHES.items():
            command.add_argument(f"--{option}", default="", choices=["", word], help=parameter)
        command.add_argument("--cores", type=int, default=0, help="cores to use (default: all)")
        command.add_argument("--project", default="", help="folder with notebooks/ and params/")
    return parser.parse_args(arguments)


def start_of(run: Run, asked: argparse.Namespace) -> str:
    """What a run is done again for once it changes: its weights, or that doubtful cases score."""
    return run.weights or asked.doubtful * ("score_doubtful" in run.declared)


def run_profile(profile: Profile, asked: argparse.Namespace) -> int:
    """Bring every run of a profile up to date; returns 0, or 1 when a run is not complete.

    The folder is held alone while it is checked, and shared with the runs while they work.
    """
    started, folder = time.monotonic(), asked.folder
    profiles.check_comparisons(profile.runs)
    every = {run.name for run in profile.runs}
    profile = profiles.without_unnamed_scoring(profile, folder, asked.data)
    names = [run.name for run in profile.runs]
    for left_out in sorted(every - {*names}):
        log(f"left out {left_out}: it names no folder. make score RUN={folder.name} DATA=folder")
    with workspace.lock_folder(folder, alone=True) as held:
        cases.refuse_other_data(folder, asked.data)
        status.forget_incomplete(folder, {run.name: start_of(run, asked) for run in profile.runs})
        before = {name: status.read_state(folder, name) for name in names}
        workspace.take_lock(held, alone=False)
        run_all = run_snakemake if importlib.util.find_spec("snakemake") else run_in_turn
        failed = run_all(profile, asked)
        # A run that outlives a Snakemake that was killed still holds the folder, and is named.
        workspace.take_lock(held, alone=True)
        status.settle(folder, names)
        pages.refresh_pages(folder, profile.name, names)
        index = write_index(folder, profile.name, names)
    ran = [name for name in names if status.read_state(folder, name) != before[name]]
    unfinished = [name for name in names if not status.done_path(folder, name).exists()]
    if failed and not ran:
        said = (folder / status.FOLDER / LOG).read_text(encoding="utf-8", errors="replace")
        last = said.splitlines()[-LINES_SHOWN:]
        print("Snakemake stopped:", *last, sep="\n", file=sys.stderr)
    took = pages.duration(time.monotonic() - started)
    if unfinished:
        print(f"NOT COMPLETE after {took}: {', '.join(unfinished)}.")
    elif ran:
        rest = ", the others were up to date" if len(ran) < len(names) else ""
        print(f"{len(ran)} of {len(names)} runs done in {took}{rest}.")
    else:
        print(f"Nothing to do: all {len(names)} runs are up to date ({took}).")
    print(f"Open {index}", flush=True)
    return FAILED if failed or unfinished else COMPLETE


def run_snakemake(profile: Profile, asked: argparse.Namespace) -> int:
    """Run what is out of date; returns Snakemake's status."""
    use, folder = asked.cores or cores(), asked.folder
    # Runs that load a network take turns at a GPU; where there is none they share the cores.
    gpus = 1 if workspace.hardware()["gpu"] else use
    command = f"-m snakemake --cores {use} --resources gpu={gpus} --keep-going --rerun-incomplete"
    # Our own lock has the folder; Snakemake's would stay after a kill.
    command += " --nolock --scheduler greedy --latency-wait 0 --quiet rules"
    # What SNAKEMAKE_PROFILE asks for is meant for other workflows.
    command += " --profile none --workflow-profile none"
    # Not `code` and `params`: the number of cores or the place of the data changes no figure.
    command += " --rerun-triggers mtime input"
    words = [sys.executable, *command.split(), "--snakefile", str(asked.project / "Snakefile")]
    words += ["--config", f"profile={profile.name}", f"folder={folder}", f"data={asked.data}"]
    words += [f"{name}={getattr(asked, name)}" for name in ("weights", *profiles.SWITCHES)]
    with (
        explained_errors(folder),
        (folder / status.FOLDER / LOG).open("w", encoding="utf-8") as errors,
    ):
        process = subprocess.Popen(
            words, stderr=errors, stdin=subprocess.DEVNULL, cwd=asked.project
        )
        try:
            return process.wait()
        except KeyboardInterrupt:  # Snakemake and its runs are interrupted by the terminal too
            log("stopping: unfinished runs are ended, finished ones are kept")
            process.terminate()
            return process.wait() or FAILED


def run_in_turn(profile: Profile, asked: argparse.Namespace) -> int:
    """Run in turn what has not finished yet: where there is no Snakemake, as on Kaggle.

    What changed since is not looked at.
    """
    runs = {run.name: run for run in profile.runs}
    waits = {
        name: {one.name for one in profiles.upstream(profile.runs, runs[name])} for name in runs
    }
    unmade = {name for name in runs if not status.done_path(asked.folder, name).exists()}
    for name in graphlib.TopologicalSorter(waits).static_order():
        if name in unmade and not unmade & waits[name]:
            unmade -= {name} if execute_run(profile, runs[name], asked) == COMPLETE else set()
    return FAILED if unmade else COMPLETE


def run_alone(profile: Profile, run: Run, asked: argparse.Namespace) -> int:
    """One run, in a folder that is shared with a batch's other runs or held alone."""
    with workspace.lock_folder(asked.folder, alone=not asked.inside):
        result = execute_run(profile, run, asked)
    if not asked.inside:
        shown = profiles.without_unnamed_scoring(profile, asked.folder, asked.data)
        write_index(asked.folder, profile.name, [one.name for one in shown.runs])
    return result


def execute_run(profile: Profile, run: Run, asked: argparse.Namespace) -> int:
    """Run one notebook, render its page and record how it went; the stamp comes last.

    What scores a folder again leaves the page of the last time until there is a new one.
    """
    folder = asked.folder
    started = time.time()
    again = asked.command == "score" and status.done_path(folder, run.name).exists()
    name = f"{run.name}-again" if again else run.name
    status.done_path(folder, name).unlink(missing_ok=True)
    status.write_state(folder, name, status.RUNNING)
    log(f"started  {run.name}")
    try:
        problem = run_notebook(profile, run, asked, status.executed_path(folder, name))
    except InputError as error:
        problem = {"error": InputError.__name__, "message": str(error)}
    except KeyboardInterrupt:
        status.settle(folder, [name])
        raise
    results = status.results_path(folder, run.name)
    if not problem and not (results.exists() and results.stat().st_mtime > started):
        problem = {
            "error": "Incomplete",
            "message": f"The notebook ended without writing results/{run.name}.json: "
            "its last cell did not run, or it saves under another name than `run`.",
        }
    seconds = round(time.time() - started, 1)
    result = status.FAILED if problem else status.DONE
    if again and not problem:
        status.executed_path(folder, name).replace(status.executed_path(folder, run.name))
        status.page_path(folder, name).unlink(missing_ok=True)
        name = run.name
    state = status.write_state(folder, name, result, seconds=seconds, **problem)
    page = pages.write_page(folder, name, profile.name, state)
    shown = page.relative_to(asked.project) if page.is_relative_to(asked.project) else page
    if not problem:
        status.mark_done(folder, run.name, start_of(run, asked))
        log(f"finished {run.name} in {pages.duration(seconds)}: {shown}")
        return COMPLETE
    log(f"FAILED   {run.name} after {pages.duration(seconds)}: {shown}")
    log(f"         {problem['error']}: {problem['message']}")
    return UNUSABLE if problem["error"] == InputError.__name__ else FAILED


def run_notebook(
    profile: Profile, run: Run, asked: argparse.Namespace, executed: Path
) -> dict[str, object]:
    """Run papermill into the notebook `executed`; returns {} or what went wrong.

    The finished notebook replaces the one before it in one step.
    """
    import papermill
    from jupyter_client.manager import AsyncKernelManager
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets import Unicode

    given = {"run": run.name, "run_folder": str(asked.folder), "profile": profile.name}
    if asked.data and profiles.DATA in run.declared:
        given[profiles.DATA] = asked.data
    for option, (_, parameter) in profiles.SWITCHES.items():
        if getattr(asked, option) and parameter in run.declared:
            given[parameter] = True
    use = asked.cores or cores()
    if use < cores():  # others work alongside this run
        for name in THREAD_SETTINGS:
            os.environ.setdefault(name, str(use))
    os.environ.update(NBHELPERS_HEADLESS="1", NBHELPERS_CORES=str(use))
    with (
        atomic_path(executed) as output,
        # TCP ports are drawn before a kernel binds them, so kernels that start side by side clash;
        # a socket's path has at most about 100 characters, and TMPDIR may be long.
        tempfile.TemporaryDirectory(prefix="nbhelpers-", dir="/tmp") as sockets,
    ):
        traits = {"transport": Unicode("ipc"), "connection_file": Unicode(f"{sockets}/kernel.json")}
        try:
            papermill.execute_notebook(
                _without_fields(run.notebook),
                _without_fields(output),
                run.parameters | given,
                kernel_name=profile.kernel_name,
                progress_bar=False,
                cwd=asked.project,
                stdout_file=LinePrinter(run.name),
                kernel_manager_class=type("KernelManager", (AsyncKernelManager,), traits),
            )
        except PapermillExecutionError as error:
            return {"error": error.ename, "message": error.evalue, "cell": error.exec_count}
        except DeadKernelError:
            message = "The kernel died mid-run: it was killed or ran out of memory."
            return {"error": "DeadKernel", "message": message}
    return {}


def _without_fields(path: Path) -> str:
    """A path for papermill, which puts parameters in place of names in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


class LinePrinter:
    """A file for papermill that prints the lines of a run's output, each with the run's name."""

    def __init__(self, run: str) -> None:
        self.run = run

    def write(self, text: str) -> None:
        for line in text.split("\n"):
            if line.strip():
                print(f"{self.run} | {line.rsplit(chr(13), 1)[-1]}", flush=True)

    def flush(self) -> None:
        """Lines are printed at once."""


if __name__ == "__main__":
    sys.exit(main())
