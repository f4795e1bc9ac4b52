"""The runs of a profile as a graph: 01, then 02 to 04, then 05, then 06 to 09.

`make report` calls it; so can any Snakemake, with an executor plugin for Slurm or Kubernetes:

    snakemake --cores 4 --keep-going --resources gpu=1 --config profile=demo
"""

import sys
from pathlib import Path

PROJECT = Path(workflow.basedir)
sys.path.insert(0, str(PROJECT))

from nbhelpers.batch import profiles, reach, status

PROFILE = profiles.read_profile(PROJECT, config.get("profile", "demo"))
FOLDER = Path(config.get("folder") or PROJECT / "reports" / PROFILE.name).resolve()
PROFILE = profiles.without_unnamed_scoring(PROFILE, FOLDER, config.get("data") or "")
HELPERS = PROJECT / "nbhelpers"
GPU_NOTEBOOKS = (2, 3, 5, 6, 7, 8, 9)  # all that load a network; one run holds the GPU at a time
WHOLE_MACHINE = (1, 2, 3, 4)  # these use every core; the others share them


workdir: FOLDER


def inputs(run):
    """Everything that makes a run out of date when it is newer than the run's stamp."""
    shared = PROFILE.folder / profiles.SHARED
    return [
        run.notebook,
        run.settings,
        *([shared] if shared.exists() else []),
        *reach.helpers_reached(run.notebook, HELPERS if HELPERS.is_dir() else None),
        *(status.done_path(FOLDER, earlier.name) for earlier in profiles.upstream(PROFILE.runs, run)),
    ]


rule all:
    input:
        [str(status.done_path(FOLDER, run.name)) for run in PROFILE.runs],


for run in PROFILE.runs:

    rule:
        name:
            run.name.replace(".", "__").replace("-", "_")
        input:
            [str(path) for path in inputs(run)],
        output:
            str(status.done_path(FOLDER, run.name)),
        threads: workflow.cores if run.number in WHOLE_MACHINE else max(1, workflow.cores // 2)
        resources:
            gpu=int(run.number in GPU_NOTEBOOKS),
        params:
            run=run.name,
            profile=PROFILE.name,
            python=sys.executable,
            project=str(PROJECT),
            folder=str(FOLDER),
            data=config.get("data") or "",
            weights=config.get("weights") or "",
        shell:
            "exec {params.python:q} -m nbhelpers.batch run {params.profile} {params.run} --inside"
            " --project {params.project:q} --folder {params.folder:q} --data={params.data:q}"
            " --weights={params.weights:q} --cores {threads} --bound $PPID"
