"""The house keeps its arrows: who may import whom, and what a worker never has in memory."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Set
from functools import cache
from pathlib import Path

import pytest

from wheeltapper.training.detectors.registry import DETECTORS

CHECKOUT = Path(__file__).resolve().parents[2]
ROOMS = ("schemas", "models", "training", "stream", "deploy", "wheeltapper")
MAY_IMPORT = {
    "schemas": {"schemas"},
    "models": {"models", "schemas"},
    "training": {"training", "models", "schemas", "stream"},  # of stream the core alone, see below
    "stream": {"stream", "schemas"},
    "deploy": set(ROOMS),
    "wheeltapper": set(ROOMS),
}
# What schemas and stream must not even mention: it would end up in a worker.
HEAVY = {"torch", "librosa", "numba", "aeon", "sklearn", "pandas", "matplotlib", "onnxscript"}
# What a worker must not have in memory, by whichever way it came.
ABSENT_FROM_A_WORKER = (
    "torch",
    "librosa",
    "numba",
    "pandas",
    "sklearn",
    "aeon",
    "matplotlib",
    "onnx",
    # What reads and resamples sound: imported where a bundle of sound serves.
    "soundfile",
    "soxr",
    "wheeltapper.training",
    "wheeltapper.models",
)
# The scorer measures the time that onnxruntime takes; no result depends on it.
CORE_MAY = {"scoring.py": {"time"}}
# These are fitted where there is neither torch nor scipy.
EDGE_DETECTORS = [spec.folder for spec in DETECTORS.values() if spec.edge]


def python_files(room: str) -> list[Path]:
    inner = {CHECKOUT / "wheeltapper" / name for name in ROOMS}  # links to the other rooms
    return sorted(
        path
        for path in (CHECKOUT / room).rglob("*.py")
        if "__pycache__" not in path.parts and not inner.intersection(path.parents)
    )


@cache
def imported_modules(path: Path) -> frozenset[str]:
    """Full names of the modules that a file imports, anywhere in it."""
    modules: set[str] = set()
    parts = path.relative_to(CHECKOUT).parent.parts
    package = ".".join(parts if parts[0] == "wheeltapper" else ("wheeltapper", *parts))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - (node.level - 1)]
                base = ".".join([*above, *([base] if base else [])])
            modules.add(base)
            modules.update(f"{base}.{alias.name}" for alias in node.names)
    return frozenset(modules)


def tops(modules: Set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def rooms(modules: Set[str]) -> set[str]:
    """The rooms of this project that these modules lie in; the commands are in none of the others."""
    parts = [module.split(".") for module in modules]
    ours = [part[1] for part in parts if part[0] == "wheeltapper" and len(part) > 1]
    return {room if room in ROOMS else "wheeltapper" for room in ours}


@pytest.mark.parametrize("room", ROOMS)
def test_arrows_point_one_way(room: str) -> None:
    # given a room with files in it
    files = python_files(room)
    assert files, f"{room}/ has no Python files: was it renamed?"
    # when their imports are read
    wrong = {
        str(path.relative_to(CHECKOUT)): sorted(rooms(imported_modules(path)) - MAY_IMPORT[room]) for path in files
    }
    # then none points to a room that it may not know
    assert {path: modules for path, modules in wrong.items() if modules} == {}


def inner(modules: Set[str], room: str) -> set[str]:
    """Of these modules those that lie in wheeltapper.<room>, without what they are called there."""
    return {module for module in modules if module.startswith(f"wheeltapper.{room}.")}


def is_core(module: str) -> bool:
    return module == "wheeltapper.stream.core" or module.startswith("wheeltapper.stream.core.")


def test_training_knows_of_the_stream_its_core_alone() -> None:
    # when the imports of training/ are read, then of stream/ only the core is among them
    wrong = {
        str(path.relative_to(CHECKOUT)): sorted(
            module for module in inner(imported_modules(path), "stream") if not is_core(module)
        )
        for path in python_files("training")
    }
    assert {path: modules for path, modules in wrong.items() if modules} == {}


def test_the_core_stands_on_schemas_alone() -> None:
    # given the floor beneath stream and training
    files = [path for path in python_files("stream") if "core" in path.relative_to(CHECKOUT).parts]
    assert len(files) > 10
    # when its imports are read
    wrong = {}
    for path in files:
        modules = imported_modules(path)
        above = {module for module in inner(modules, "stream") if not is_core(module)}
        outside = tops(modules) & {"pydantic", "confluent_kafka", "aiokafka", "faust", "time", "random", "asyncio"}
        wrong[str(path.relative_to(CHECKOUT))] = above | (outside - CORE_MAY.get(path.name, set()))
    # then nothing of the rest of stream is there, no Kafka, no settings, no clock, no chance
    assert {path: modules for path, modules in wrong.items() if modules} == {}


def test_the_laboratory_is_apart() -> None:
    # given every file of the project outside of the laboratory, but the commands that are its doors
    doors = {CHECKOUT / "wheeltapper" / "commands" / f"{name}.py" for name in ("compare", "reproduce", "shifts")}
    lab = CHECKOUT / "training" / "lab"
    files = [path for room in ROOMS for path in python_files(room) if lab not in path.parents and path not in doors]
    # when their imports are read, then none needs it
    users = {
        str(path.relative_to(CHECKOUT))
        for path in files
        if any(module.startswith("wheeltapper.training.lab") for module in imported_modules(path))
    }
    assert users == set()


def test_imports_run_in_no_circle() -> None:
    # given every module of the project and what it imports of it, at the top or late
    graph: dict[str, set[str]] = {}
    for room in ROOMS:
        for path in python_files(room):
            parts = path.relative_to(CHECKOUT).with_suffix("").parts
            parts = parts if parts[0] == "wheeltapper" else ("wheeltapper", *parts)
            graph[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = imported_modules(path)
    edges = {}
    for name, modules in graph.items():
        known = {module for module in modules if module in graph} - {name}
        # `from package import module` asks its own package for a module beside it: that is no arrow back to the package.
        above = {package for package in known if name.startswith(f"{package}.")}
        asked = {package for package in above if not any(f"{package}." in f"{module}." for module in known - {package})}
        edges[name] = known - (above - asked)
    # when what nothing else stands on is taken away, again and again
    while free := {name for name, modules in edges.items() if not modules}:
        edges = {name: modules - free for name, modules in edges.items() if name not in free}
    while roots := set(edges) - set().union(*edges.values()):
        edges = {name: modules for name, modules in edges.items() if name not in roots}
    # then nothing is left
    assert edges == {}


@pytest.mark.parametrize("room", ["schemas", "stream"])
def test_what_a_worker_runs_imports_nothing_heavy(room: str) -> None:
    # when the imports of every file are read, then none is of the heavy libraries
    wrong = {str(path.relative_to(CHECKOUT)): tops(imported_modules(path)) & HEAVY for path in python_files(room)}
    assert {path: modules for path, modules in wrong.items() if modules} == {}


def test_schemas_know_no_kafka() -> None:
    # when the imports of schemas/ are read, then no Kafka client is among them
    wrong = {
        str(path.relative_to(CHECKOUT)): tops(imported_modules(path)) & {"confluent_kafka", "aiokafka", "faust"}
        for path in python_files("schemas")
    }
    assert {path: modules for path, modules in wrong.items() if modules} == {}


def test_the_pipeline_knows_no_clock_no_chance_and_no_kafka() -> None:
    # given the pure heart of stream/
    path = CHECKOUT / "stream" / "pipeline.py"
    # when its imports are read
    found = tops(imported_modules(path))
    # then nothing is there that would make two runs differ
    assert (
        found & {"time", "random", "secrets", "confluent_kafka", "aiokafka", "faust", "asyncio", "threading"} == set()
    )


def modules_after(*imports: str) -> set[str]:
    """What a fresh interpreter has in memory after importing these modules."""
    script = (
        f"import importlib, sys\nfor name in {imports!r}: importlib.import_module(name)\nprint('\\n'.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=CHECKOUT, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "modules",
    [
        ("wheeltapper.commands.worker", "wheeltapper.stream.worker", "wheeltapper.stream.runners.faust_runner"),
        ("wheeltapper.commands.worker", "wheeltapper.stream.worker", "wheeltapper.stream.runners.direct_runner"),
    ],
)
def test_a_worker_starts_without_what_only_training_needs(modules: tuple[str, ...]) -> None:
    # given a fresh interpreter, when it imports the worker command and a runner
    loaded = modules_after(*modules)
    # then none of what training needs came along
    assert [name for name in ABSENT_FROM_A_WORKER if name in loaded] == []


def test_edge_detectors_are_imported_without_torch() -> None:
    # given a fresh interpreter, when it imports what fits these detectors
    loaded = modules_after(
        *(f"wheeltapper.models.{detector}.fit" for detector in EDGE_DETECTORS),
        *(f"wheeltapper.training.detectors.{detector}.train" for detector in EDGE_DETECTORS),
    )
    # then numpy and onnx were enough
    assert loaded & {"torch", "sklearn", "scipy", "pandas", "aeon", "numba"} == set()


def test_no_command_loads_torch_to_print_its_help() -> None:
    # given every command that the command line knows
    from wheeltapper.cli import COMMANDS

    # when their modules are imported, as `wheeltapper COMMAND --help` does
    loaded = modules_after("wheeltapper.cli", *(f"wheeltapper.commands.{name.replace('-', '_')}" for name in COMMANDS))
    # then torch stayed where it is
    assert "torch" not in loaded


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "worker --help",
        "alerts --help",
        "scores --help",
        "models --help",
        "broker --help",
        "completion --help",
    ],
)
def test_help_is_shown_without_any_large_library(words: str) -> None:
    # given a fresh interpreter, when it shows a help text
    script = (
        f"import sys\nfrom wheeltapper.cli import main\ntry: main({words.split()!r})\nexcept SystemExit as end: assert end.code == 0\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=CHECKOUT, timeout=60)
    assert done.returncode == 0, done.stderr
    # then Python's own library was nearly enough
    large = {"numpy", "pydantic", "pyarrow", "onnxruntime", "confluent_kafka", "faust", "structlog", "rich", "asyncio"}
    assert set(done.stderr.split()) & (large | HEAVY) == set()


def test_what_a_message_says_is_read_without_tools_for_tables() -> None:
    # when the readers of messages' times and numbers, settings and manifests are imported
    loaded = modules_after(
        "wheeltapper.schemas.readings", "wheeltapper.stream.settings", "wheeltapper.schemas.bundle.manifest"
    )
    # then nothing of columns, graphs and logs came along
    assert loaded & {"numpy", "pyarrow", "onnxruntime", "structlog", "rich"} == set()


def test_training_without_torch_writes_a_bundle_without_pandas(tmp_path: Path) -> None:
    # given a fresh interpreter, when it trains a detector that numpy is enough for
    words = [
        "train",
        "pca",
        "--dataset",
        "simulated",
        "--entity",
        "pump-1",
        "--no-torchscript",
        "--out",
        str(tmp_path / "b"),
    ]
    script = f"import sys\nfrom wheeltapper.cli import main\nassert main({words!r}) == 0\nprint('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=CHECKOUT, timeout=120)
    assert done.returncode == 0, done.stderr
    # then none of the large libraries came along
    assert set(done.stderr.split()) & {"torch", "pandas", "sklearn", "scipy", "pyarrow.compute", "matplotlib"} == set()


def test_what_is_known_of_detectors_is_cheap_to_import() -> None:
    # when the registry and with it all specs are imported, then nothing that trains or exports came along
    loaded = modules_after("wheeltapper.training.detectors.registry")
    assert loaded & {"torch", "sklearn", "scipy", "onnx", "pandas", "aeon", "numba", "matplotlib"} == set()


@pytest.mark.parametrize("package", ["models", "training/fitting", "training/detectors"])
def test_no_modules_import_each_other_in_a_circle(package: str) -> None:
    # given who imports whom among the modules of a package, imports inside of functions included
    modules = {
        ".".join(("wheeltapper", *path.relative_to(CHECKOUT).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in python_files(package)
    }
    imports = {name: (imported_modules(path) & modules.keys()) - {name} for name, path in modules.items()}
    # when modules that import none of the rest are taken away, again and again
    while free := {name for name, needed in imports.items() if not needed & imports.keys()}:
        imports = {name: needed for name, needed in imports.items() if name not in free}
    # then none is left
    assert imports == {}


def test_what_detectors_share_knows_no_detector() -> None:
    # given what is shared by all, when its imports are read
    detectors = "wheeltapper.training.detectors"
    wrong = {
        path.name: sorted(name for name in imported_modules(path) if name.startswith(detectors))
        for path in python_files("training/fitting")
    }
    # then none is of a detector or of the registry
    assert {name: found for name, found in wrong.items() if found} == {}
