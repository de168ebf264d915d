"""Every package of an image with its version and its hashes: what the image installs, and what a bill of materials lists.

    .venv/bin/python deploy/lock.py cpu      writes deploy/requirements-cpu.txt
    .venv/bin/python deploy/lock.py cuda     writes deploy/requirements-cuda.txt

Versions are those of constraints.txt; pip says which files it would install. Run it after a pin has moved.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from wheeltapper.deploy.worker_requirements import worker_requirements

DEPLOY = Path(__file__).resolve().parent
PYTHON_VERSION = "3.11"
# glibc of the base image, Debian 12, and what older wheels are named by.
GLIBC = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17")
MACHINES = {"cpu": ("x86_64",), "cuda": ("x86_64",)}
"""Of the adaptation worker's image no file is made: which build of torch it gets depends on the package index."""


def locked(target: str) -> dict[str, tuple[str, list[str]]]:
    """Name of each package -> its version and the hashes of its files, one for each kind of machine that has its own.

    Raises:
        SystemExit: pip finds no such set of packages; its message stands above.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for machine in MACHINES[target]:
        for entry in _resolved(target, machine):
            name = str(entry["metadata"]["name"]).lower().replace("_", "-").replace(".", "-")
            hashes = found.setdefault(name, (str(entry["metadata"]["version"]), []))[1]
            own = str(entry["download_info"]["archive_info"]["hashes"]["sha256"])
            if own not in hashes:
                hashes.append(own)
    return found


def _resolved(target: str, machine: str) -> list[dict[str, Any]]:
    platforms = [f"manylinux_{version}_{machine}" for version in GLIBC] + [f"manylinux2014_{machine}"]
    constraints = ["constraints.txt", *(["deploy/constraints-cuda.txt"] if target == "cuda" else [])]
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        wanted.write_text("\n".join(worker_requirements(target, DEPLOY.parent / "pyproject.toml")), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--dry-run"]
        command += ["--ignore-installed", "--only-binary=:all:", f"--python-version={PYTHON_VERSION}"]
        command += [f"--platform={name}" for name in platforms]
        command += [f"--constraint={name}" for name in constraints]
        command += [f"--target={folder}/none", f"--report={report}", f"--requirement={wanted}"]
        if subprocess.run(command, cwd=DEPLOY.parent, check=False).returncode:
            sys.exit(f"pip finds no packages for {target} on {machine}; its message stands above")
        entries: list[dict[str, Any]] = json.loads(report.read_text(encoding="utf-8"))["install"]
    return entries


def lines_of(target: str, packages: dict[str, tuple[str, list[str]]]) -> str:
    """The requirements file."""
    machines = " and ".join(MACHINES[target])
    head = (
        f"# Made by `python deploy/lock.py {target}` for Linux on {machines}, Python {PYTHON_VERSION}; do not edit.\n"
    )
    rows = (
        " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{each}" for each in sorted(hashes))])
        for name, (version, hashes) in sorted(packages.items())
    )
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] not in ([name] for name in MACHINES):
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(MACHINES)}")
    chosen = sys.argv[1]
    (DEPLOY / f"requirements-{chosen}.txt").write_text(lines_of(chosen, locked(chosen)), encoding="utf-8")
