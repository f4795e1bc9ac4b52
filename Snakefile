"""The runs of a profile as a graph: 01, then 02 to 04, then 05, then 06 to 09.

`make report` calls it; so can any Snakemake, with an executor plugin for Slurm or Kubernetes:

    snakemake --cores 4 --keep-going --resources gpu=1 --config profile=demo
"""

import os
import shlex
import sys
from pathlib import Path

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT))

from nbhelpers import workspace
from nbhelpers.batch import profiles, status

PROFILE = profiles.read_profile(PROJECT, config.get("profile", "demo"))
FOLDER = Path(config.get("folder") or PROJECT / "reports" / PROFILE.name).resolve()
PROFILE = profiles.without_unnamed_scoring(PROFILE, FOLDER, config.get("data") or "")
# What a figure can depend on; pages are rendered anew without a run.
HELPERS = [path for path in Path(workspace.__file__).parent.rglob("*.py") if path.parent.name != "batch"]
GPU_NOTEBOOKS = (2, 3, 5, 6, 7, 8, 9)  # all that load a network; one run holds a GPU at a time
# These use every core in turn; the others share them. Two trainings side by side end no sooner: on
# two cores each epoch took 1.8 times as long.
WHOLE_MACHINE = (1, 2, 3, 4)
HELD = workspace.lock_folder(FOLDER)  # beside the batch that called, and the runs that follow


workdir: FOLDER


def threads_of(run):
    return workflow.cores if run.number in WHOLE_MACHINE else max(1, workflow.cores // 2)


def stamp(run):
    return str(status.done_path(Path(), run.name))


def inputs(run):
    """What makes a run out of date when it is newer than its stamp.

    Named from the run folder: Snakemake would take braces in a folder's name for wildcards.
    """
    shared = PROFILE.folder / profiles.SHARED
    files = [run.notebook, run.settings, *HELPERS, *([shared] if shared.exists() else [])]
    earlier = [stamp(one) for one in profiles.upstream(PROFILE.runs, run)]
    return [os.path.relpath(file, FOLDER) for file in files] + earlier


def command(run):
    words = [sys.executable, "-m", "nbhelpers.batch", "run", PROFILE.name, run.name, "--inside"]
    words += ["--project", str(PROJECT), "--folder", str(FOLDER)]
    words += ["--cores", str(workflow.cores)]  # runs side by side share them as the system does
    passed = ("data", "weights", *profiles.SWITCHES)
    words += [f"--{name}={config.get(name) or ''}" for name in passed]
    return lambda wildcards: shlex.join(words)  # a function's text may have braces too


rule all:
    input:
        [stamp(run) for run in PROFILE.runs],


for run in PROFILE.runs:

    rule:
        name:
            run.name.replace(".", "__").replace("-", "_")
        input:
            inputs(run),
        output:
            stamp(run),
        threads: threads_of(run)
        resources:
            gpu=int(run.number in GPU_NOTEBOOKS),
        params:
            command=command(run),
        shell:
            "exec {params.command}"
