"""All runs of a profile: checked first, then run by Snakemake, then shown on the index."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from nbhelpers import index_page, keeper, kernels, locks, profiles, report, run_order, states
from nbhelpers.workspace import cores, explained_errors, log, read_json

LOG = "snakemake.log"
LINES_SHOWN = 15  # of Snakemake's log, when it stopped before any run did
BUSY = "{folder} is in use by process {{process}}. Wait for it, or name another folder with RUN=."


def run_profile(project: Path, folder: Path, data: str, options: argparse.Namespace) -> int:
    """Bring every run of a profile up to date; returns 0, or 1 when a run is not complete."""
    started = time.monotonic()
    profile = profiles.read_profile(project, options.profile, options.weights)
    run_order.check_comparisons(profile.runs)
    kernels.require_kernel(profile.kernel_name, profile.folder / profiles.SHARED)
    profile = profiles.without_unnamed_scoring(profile, folder, data)
    names = [run.name for run in profile.runs]
    with locks.hold(states.lock_path(folder, "folder"), BUSY.format(folder=folder)):
        refuse_other_data(folder, data)
        states.forget_incomplete(folder, names)
        states.forget_other_weights(folder, {run.name: run.weights for run in profile.runs})
        before = {name: states.read_state(folder, name) for name in names}
        interrupted = False
        try:
            status = run_snakemake(project, folder, profile, data, options)
        except KeyboardInterrupt:
            interrupted, status = True, 130
        states.settle(folder, names)
        report.refresh_pages(folder, profile.name, names)
        index = index_page.write_index(folder, profile.name, names)
    ran = [name for name in names if states.read_state(folder, name) != before[name]]
    open_runs = [name for name in names if not states.done_path(folder, name).exists()]
    if status and not ran and not interrupted:
        show_log(folder / states.FOLDER / LOG)
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
    with explained_errors(folder), (folder / states.FOLDER / LOG).open("w") as errors:
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
    from nbhelpers import cases, fingerprints

    facts = read_json(folder / "data.json")
    recorded = facts["fingerprint"]
    place = Path(data or recorded["data_folder"])
    if not place.is_dir():
        log(f"note: {place} is gone; later runs read what {folder.name} has kept")
        return
    external = recorded.get("external_folder")
    external_folder = Path(external) if external else None
    found = cases.read_cases(place, external_folder, facts["stage_cuts"])
    fingerprints.require_same_fingerprint(
        folder, fingerprints.fingerprint(place, found, external_folder)
    )


def summarise(names: list[str], ran: list[str], unfinished: list[str], seconds: float) -> None:
    took = report.duration(seconds)
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
