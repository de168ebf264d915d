"""What a container installs: the core dependencies of pyproject.toml, the client of a schema registry, and the onnxruntime of its target.

    python deploy/worker_requirements.py cpu   > requirements.txt     onnxruntime
    python deploy/worker_requirements.py cuda  > requirements.txt     onnxruntime-gpu with the CUDA libraries it loads
    python deploy/worker_requirements.py adapt > requirements.txt     onnxruntime, and what the adaptation worker trains with

An image has one build of onnxruntime: two would overwrite each other's files.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

RUNTIMES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu[cuda,cudnn]", "adapt": "onnxruntime"}
EXTRAS = {"cpu": ("registry",), "cuda": ("registry",), "adapt": ("registry", "fit", "training", "calendar")}


def worker_requirements(target: str, pyproject: Path) -> list[str]:
    """One requirement a line, in the order of pyproject.toml.

    Raises:
        KeyError: `target` is none of 'cpu', 'cuda' and 'adapt'.
    """
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    core: list[str] = [line for line in project["dependencies"] if not line.startswith("onnxruntime")]
    extras = [line for name in EXTRAS[target] for line in project["optional-dependencies"][name]]
    return [*core, RUNTIMES[target], *(line for line in extras if not line.startswith("wheeltapper["))]


if __name__ == "__main__":
    if sys.argv[1:] not in ([name] for name in RUNTIMES):
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(RUNTIMES)}")
    print("\n".join(worker_requirements(sys.argv[1], Path(__file__).resolve().parents[1] / "pyproject.toml")))
