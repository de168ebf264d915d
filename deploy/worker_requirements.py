"""What a worker's container installs: the core dependencies of pyproject.toml with the onnxruntime of its target.

    python deploy/worker_requirements.py cpu  > requirements.txt      onnxruntime
    python deploy/worker_requirements.py cuda > requirements.txt      onnxruntime-gpu with the CUDA libraries it loads

On Linux the project itself asks for onnxruntime-gpu, which runs on both; in an image without a GPU it is dead weight.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

RUNTIMES = {"cpu": "onnxruntime", "cuda": "onnxruntime-gpu[cuda,cudnn]"}


def worker_requirements(target: str, pyproject: Path) -> list[str]:
    """One requirement a line, in the order of pyproject.toml.

    Raises:
        KeyError: `target` is neither 'cpu' nor 'cuda'.
    """
    core: list[str] = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]["dependencies"]
    return [*(line for line in core if not line.startswith("onnxruntime")), RUNTIMES[target]]


if __name__ == "__main__":
    if sys.argv[1:] not in ([name] for name in RUNTIMES):
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(RUNTIMES)}")
    print("\n".join(worker_requirements(sys.argv[1], Path(__file__).resolve().parents[1] / "pyproject.toml")))
