"""What pip installs is whole: an editable install would hide a file that the wheel lacks."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "nbhelpers").rglob("*"))


def test_every_module_of_a_built_wheel_can_be_imported(tmp_path: Path):
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    # A copy, since building leaves folders in the project.
    copied = tmp_path / "project"
    kept = ("pyproject.toml", "README.md", "LICENSE", "requirements.txt", "nbhelpers")
    subprocess.run(["mkdir", copied], check=True)
    subprocess.run(["cp", "-r", *(ROOT / name for name in kept), copied], check=True)
    subprocess.run([*pip, "--target", site, copied], check=True)
    modules = [path.relative_to(ROOT).with_suffix("") for path in FILES if path.suffix == ".py"]
    names = [".".join(path.parts).removesuffix(".__init__") for path in modules]
    code = "import importlib, sys\nfor name in sys.argv[2:]:\n"
    code += "    assert importlib.import_module(name).__file__.startswith(sys.argv[1]), name"
    environment = {"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code, str(site), *names]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    templates = [path.relative_to(ROOT) for path in FILES if path.parent.name == "templates"]
    assert templates and all((site / path).is_file() for path in templates)
