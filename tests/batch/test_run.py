"""One run: what counts as complete, what a failure leaves behind, and what the kernel gets."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from batch_tools import SAVE, clean_environment, execute, write_notebook, write_project

from nbhelpers import workspace
from nbhelpers.batch.status import done_path

RUN = "04_hog_xgboost.age"
INPUT_ERROR = """from nbhelpers.workspace import InputError
raise InputError("table.csv, line 17: boneage is 300. Give months between 0 and 240.")"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project", {RUN: "model: hog\nsteps: 7\nrate: 2.0e-3\n"})


def set_code(project: Path, *code: str) -> None:
    write_notebook(project / "notebooks" / "04_hog_xgboost.ipynb", *code)


def results_of(project: Path) -> dict:
    return json.loads((project / "reports" / "demo" / "results" / f"{RUN}.json").read_text())


def page_of(project: Path) -> str:
    return (project / "reports" / "demo" / f"{RUN}.html").read_text()


def test_a_run_gets_its_parameters_and_leaves_page_results_and_stamp(project: Path):
    facts = """import os
print("at", os.getcwd())
keys = ("NBHELPERS_HEADLESS", "NBHELPERS_CORES", "OMP_NUM_THREADS")
seen = {key: os.environ.get(key) for key in keys}
seen |= {"parameters": [model, steps, rate, flip, profile, run, run_folder, data_folder]}"""
    save = SAVE.replace('"steps": steps', '"seen": seen')
    set_code(project, facts, save)
    data = project / "some data"
    data.mkdir()
    done = execute(project, "run", "demo", RUN, "--data", str(data), "--cores", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = project / "reports" / "demo"
    expected = ["hog", 7, 0.002, True, "demo", RUN, str(folder), str(data)]
    seen = results_of(project)["seen"]
    assert seen["parameters"] == expected
    assert seen["NBHELPERS_HEADLESS"] == "1"
    # This machine's test process may use one core only; then there is nothing to share.
    assert seen["NBHELPERS_CORES"] == "1"
    if len(os.sched_getaffinity(0)) > 1:
        assert seen["OMP_NUM_THREADS"] == "1"
    assert f"{RUN} | at {project}" in done.stdout
    assert f"reports/demo/{RUN}.html" in done.stdout
    for name in (f"{RUN}.html", "index.html", f"executed/{RUN}.ipynb", f"state/{RUN}.done"):
        assert (folder / name).exists()


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        (INPUT_ERROR, 2, "table.csv, line 17: boneage is 300. Give months between 0 and 240."),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", 1, "ended without writing results/"),
        ("import os; os.kill(os.getpid(), 9)", 1, "The kernel died in mid-run"),
    ],
    ids=["input", "error", "exit", "killed"],
)
def test_a_failure_is_one_line_a_page_and_keeps_earlier_results(
    project: Path, code: str, status: int, said: str
):
    folder = project / "reports" / "demo"
    earlier = folder / "results" / f"{RUN}.json"
    earlier.parent.mkdir(parents=True)
    earlier.write_text('{"run": "earlier"}')
    set_code(project, "print('before')", code, SAVE)
    done = execute(project, "run", "demo", RUN)
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert earlier.read_text() == '{"run": "earlier"}'
    assert not done_path(folder, RUN).exists()
    page = page_of(project)
    top = page[: page.index("</section>")]
    assert "This run did not finish" in top and said.split(": ", 1)[-1] in top
    assert "before" in page, "what ran before the failure stays on the page"


def test_a_results_file_of_another_run_does_not_count(project: Path):
    set_code(project, SAVE.replace('f"{run}.json"', '"04_hog_xgboost.other.json"'))
    done = execute(project, "run", "demo", RUN)
    assert done.returncode == 1 and "saves under another name" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "dmo", RUN), "Did you mean demo?"),
        (("run", "demo", "04_hog_xgboost.aeg"), f"Did you mean {RUN}?"),
        (("run", "demo", RUN, "--data", "nowhere"), "nowhere is not a folder"),
        (("run", "demo", RUN, "--run", "../x"), "must be a plain name"),
        (("run", "demo", RUN, "--weights", "a.h5"), "WEIGHTS=none starts from random weights"),
        (("profile", "demo", "--weights", "imagenet"), "WEIGHTS=imagenet is not known"),
        (("profile", "demo", "--run", ".hidden"), "must be a plain name"),
        (("score", "--run", "demo"), "DATA is empty. Name the folder"),
        (("score", "--run", "demo", "--data", "."), "demo holds no finished run"),
    ],
)
def test_a_wrong_command_is_one_line(project: Path, arguments: tuple, said: str):
    done = execute(project, *arguments)
    assert done.returncode == 2
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert not (project / "reports").exists()


def test_another_folder_is_scored_under_its_name_with_the_folder_as_parameter(project: Path):
    set_code(project, SAVE)
    assert execute(project, "run", "demo", RUN).returncode == 0
    folder = project / "reports" / "demo"
    first = {"run": "01_preprocessing", "profile": "demo"}
    (folder / "results" / "01_preprocessing.json").write_text(json.dumps(first))
    parameters = 'run = ""\nrun_folder = ""\nprofile = ""\nscore_folder = ""\nname = ""\nmodel = ""'
    save = SAVE.replace('"steps": steps', '"seen": [score_folder, name, profile]')
    save = save.replace('"scores": []', '"scores": [], "notes": [], "figures": {}')
    notebook = project / "notebooks" / "09_external.ipynb"
    write_notebook(notebook, save, parameters=parameters)
    data = project / "Other Hospital"
    data.mkdir()
    done = execute(project, "score", "--run", "demo", "--data", str(data))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((folder / "results" / "09_external.other-hospital.json").read_text())
    assert found["seen"] == [str(data), "other-hospital", "demo"]
    assert "09_external.other-hospital.html" in (folder / "index.html").read_text()


@pytest.mark.parametrize("what", ["run", "profile"])
def test_an_unknown_kernel_is_named_before_work_starts(project: Path, what: str):
    (project / "params" / "demo" / "_profile.yaml").write_text("kernel_name: julia-9\n")
    done = execute(project, what, "demo", *([RUN] if what == "run" else []))
    assert done.returncode == 2
    assert "_profile.yaml: kernel_name" in done.stderr and "python3" in done.stderr
    assert not (project / "reports").exists()


def test_a_named_kernel_is_used(project: Path, tmp_path: Path):
    spec = tmp_path / "jupyter" / "kernels" / "other"
    spec.mkdir(parents=True)
    start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    content = {
        "argv": start,
        "display_name": "Other",
        "language": "python",
        "env": {"OTHER": "yes"},
    }
    (spec / "kernel.json").write_text(json.dumps(content))
    (project / "params" / "demo" / "_profile.yaml").write_text("kernel_name: other\n")
    set_code(project, 'import os\nprint("other:", os.environ.get("OTHER"))', SAVE)
    environment = {**clean_environment(project), "JUPYTER_PATH": str(tmp_path / "jupyter")}
    done = execute(project, "run", "demo", RUN, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "other: yes" in done.stdout


def without_superpowers() -> None:
    """Root may write anywhere; take that away, so that permissions count for it too."""
    import ctypes

    drop, powers = 24, (1, 2, 3)  # PR_CAPBSET_DROP; DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
    for power in powers:
        ctypes.CDLL(None).prctl(drop, power, 0, 0, 0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="drops Linux capabilities")
@pytest.mark.parametrize("what", ["run", "profile"])
def test_a_read_only_run_folder_is_one_line(project: Path, what: str):
    folder = project / "reports" / "demo"
    folder.mkdir(parents=True)
    folder.chmod(0o555)
    try:
        done = execute(
            project,
            what,
            "demo",
            *([RUN] if what == "run" else []),
            preexec_fn=without_superpowers,
        )
    finally:
        folder.chmod(0o755)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "writing is not allowed" in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_full_disk_is_one_line_and_keeps_what_was_finished(project: Path, tmp_path: Path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    fill = """from nbhelpers.workspace import atomic_path
with atomic_path(pathlib.Path(run_folder) / "images.npy") as path:
    path.write_bytes(bytes(3_000_000))"""
    arguments = ("run", "demo", RUN, "--folder", str(disk / "demo"))
    try:
        assert execute(project, *arguments).returncode == 0
        finished = (disk / "demo" / "results" / f"{RUN}.json").read_text()
        set_code(project, "import pathlib", fill, SAVE)
        done = execute(project, *arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "the disk is full. Free some space" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        rest = os.open(disk / "rest", os.O_WRONLY | os.O_CREAT)
        with pytest.raises(OSError, match="space"):
            while True:
                os.write(rest, bytes(4096))
        os.close(rest)
        done = execute(project, *arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "the disk is full" in done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert (disk / "demo" / "results" / f"{RUN}.json").read_text() == finished
        (disk / "rest").unlink()
        set_code(project, SAVE)
        assert execute(project, *arguments).returncode == 0, "the same command works again"
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


def test_a_folder_in_use_is_refused_at_once_by_the_number_of_its_holder(project: Path):
    folder = project / "reports" / "demo"
    with workspace.lock_folder(folder):
        for arguments in (("run", "demo", RUN), ("profile", "demo")):
            done = execute(project, *arguments)
            assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
            assert f"is in use by process {os.getpid()}. Wait for it, end it" in done.stderr
    assert execute(project, "run", "demo", RUN).returncode == 0
