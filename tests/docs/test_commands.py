"""Every command of README and docs is run as written, page by page, each page in an empty folder.

What cannot run in a test is in `NOT_RUN`, with the reason; it is still parsed by the real argument parser. In `make test`, commands
that need no shell run in one process one after the other, which saves their starts; at night bash runs every page as it is.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.doc_commands import Command, blocks, wheeltapper_calls, with_broker
from wheeltapper.cli import COMMANDS, build_parser
from wheeltapper.deploy.broker import EmbeddedBroker
from wheeltapper.deploy.ports import free_port
from wheeltapper.training.datasets.catalogue import CATALOGUE, DatasetInfo
from wheeltapper.training.datasets.registry import load_series

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = tuple(
    str(path.relative_to(CHECKOUT))
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/*.md", "deploy/README.md", "models/*/README.md")
    for path in sorted(CHECKOUT.glob(pattern))
)
BLOCK_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class NotRun:
    """Commands of a page that begin with these words, and why they are not run."""

    page: str
    starts: str
    reason: str


FOR_HOURS = "trains for minutes to days"
REAL_DATA = "needs a public data set"
WRITES_CHECKOUT = "writes into the checkout; tests of its own compare what it writes"
FOREIGN = "a program that is not ours"
FOR_EVER = "runs until Ctrl-C"
OWN_GRAPH = "needs a graph of the reader's"
EXAMPLE_SET = "needs the example's data set: test_the_data_set_of_contributing_can_be_read"
EXAMPLE_DETECTOR = "needs the example's detector: a test of its own follows that page"
LABELLED = "needs a request or an alert of a running plant; tests/integration has them"
INSTALLS = "installs packages"

NOT_RUN = (
    NotRun("README.md", "wheeltapper compare", FOR_HOURS),
    NotRun("README.md", "wheeltapper reproduce", FOR_HOURS),
    NotRun("README.md", "wheeltapper pack", OWN_GRAPH),
    NotRun("CONTRIBUTING.md", "wheeltapper datasets --data DATA", EXAMPLE_SET),
    NotRun("CONTRIBUTING.md", "wheeltapper train pca --dataset bench-rig", EXAMPLE_SET),
    NotRun("CONTRIBUTING.md", "wheeltapper evaluate bundles/run-1", EXAMPLE_SET),
    NotRun("CONTRIBUTING.md", "python -m wheeltapper.schemas.generate", WRITES_CHECKOUT),
    NotRun("docs/adapt_worker.md", "wheeltapper adapt-worker", FOR_EVER),
    NotRun("docs/adapt_worker.md", "wheeltapper adaptations show", "needs an adaptation; tests/integration has one"),
    NotRun("docs/adaptation.md", "wheeltapper evaluate --gate", REAL_DATA),
    NotRun("docs/operating.md", "wheeltapper what-if", "needs scores of a running plant, and a plant's own table"),
    NotRun("models/log_mean/README.md", "wheeltapper compare", REAL_DATA),
    NotRun("models/astra/README.md", "wheeltapper compare", REAL_DATA),
    NotRun("docs/adding_a_detector.md", "wheeltapper train mean-square", EXAMPLE_DETECTOR),
    NotRun("docs/adding_a_detector.md", "python -m wheeltapper.training.detectors.pages", WRITES_CHECKOUT),
    NotRun("docs/adding_a_detector.md", "python -m pytest", EXAMPLE_DETECTOR),
    NotRun("docs/benchmark.md", "python tests/bench/start.py", "measures for minutes, in the checkout"),
    NotRun("docs/benchmark.md", "python tests/bench/turns.py", "measures for minutes, in the checkout"),
    NotRun("docs/benchmark.md", "python tests/bench/machines.py", "measures for minutes, in the checkout"),
    NotRun("docs/benchmark.md", "python tests/bench/gpu.py", "measures for minutes, in the checkout"),
    NotRun("docs/bundle.md", "wheeltapper pack", OWN_GRAPH),
    NotRun("docs/compare.md", "wheeltapper compare", FOR_HOURS),
    NotRun("docs/compare.md", "wheeltapper reproduce", FOR_HOURS),
    NotRun("docs/deploy.md", "wheeltapper worker", FOR_EVER),
    NotRun("docs/deploy.md", "wheeltapper adapt-worker", FOR_EVER),
    NotRun("docs/deploy.md", "pip", INSTALLS),
    NotRun("docs/detectors.md", "wheeltapper train DETECTOR", REAL_DATA),
    NotRun("docs/detectors.md", "wheeltapper compare", FOR_HOURS),
    NotRun("docs/evaluation.md", "wheeltapper evaluate BUNDLE", REAL_DATA),
    NotRun("docs/evaluation.md", "wheeltapper train pca --dataset smd", REAL_DATA),
    NotRun("docs/evaluation.md", "wheeltapper evaluate bundles/pca-1-6", REAL_DATA),
    NotRun("docs/evaluation.md", "wheeltapper backtest bundles/pca-1-6", REAL_DATA),
    NotRun("docs/operating.md", "python -m wheeltapper.training.lab.operating_point", REAL_DATA),
    NotRun("docs/messages.md", "kcat", FOREIGN),
    NotRun("docs/messages.md", "java", FOREIGN),
    NotRun("docs/messages.md", "avrogen", FOREIGN),
    NotRun("docs/messages.md", "avrogencpp", FOREIGN),
    NotRun("docs/messages.md", "npx", FOREIGN),
    NotRun("docs/messages.md", "python -m wheeltapper.schemas.generate", WRITES_CHECKOUT),
    NotRun("docs/operators.md", "wheeltapper alerts --brokers 127.0.0.1:9092 --follow", FOR_EVER),
    NotRun("docs/operators.md", "wheeltapper alarm accept", LABELLED),
    NotRun("docs/operators.md", "wheeltapper alarm confirm", LABELLED),
    NotRun("docs/operators.md", "wheeltapper alarm reject", LABELLED),
    NotRun("docs/operators.md", "wheeltapper label --alert", LABELLED),
    NotRun("docs/results.md", "wheeltapper compare", FOR_HOURS),
    NotRun("docs/shifts.md", "wheeltapper shifts --dataset", REAL_DATA),
    NotRun("docs/stream.md", "wheeltapper worker", FOR_EVER),
    NotRun("docs/sound.md", "wheeltapper train auto --dataset wav", "needs recordings of the reader's"),
    NotRun("docs/sound.md", "wheeltapper worker", FOR_EVER),
    NotRun("docs/sound.md", "wheeltapper alerts --follow", FOR_EVER),
    NotRun("docs/sound.md", "wheeltapper clip", LABELLED),
    NotRun("docs/sound_results.md", "wheeltapper compare", REAL_DATA),
    NotRun("docs/sound_results.md", "wheeltapper reproduce", REAL_DATA),
    NotRun("docs/stream.md", "wheeltapper label --answer", LABELLED),
    NotRun("docs/stream.md", "wheeltapper train rl-vae", FOR_HOURS),
    NotRun("deploy/README.md", "python3.11 -m venv", INSTALLS),
    NotRun("deploy/README.md", "python deploy/worker_requirements.py", "needs the checkout; tests/unit has it"),
    NotRun("deploy/README.md", "trial/bin/pip", INSTALLS),
    NotRun("deploy/README.md", "trial/bin/wheeltapper", INSTALLS),
    NotRun("deploy/README.md", "WHEELTAPPER_WORKER__HTTP_PORT=8080", INSTALLS),
    NotRun("models/domain_adaptation/README.md", "wheeltapper", REAL_DATA),
    NotRun("models/pca/README.md", "wheeltapper", REAL_DATA),
    NotRun("models/range_bands/README.md", "wheeltapper", REAL_DATA),
    NotRun("models/rl_vae/README.md", "wheeltapper", REAL_DATA),
)


def commands(page: str) -> list[Command]:
    return [command for block in blocks(CHECKOUT / page) for command in block]


def is_run(page: str, command: Command) -> bool:
    """False for `make` (its targets are checked) and what the table leaves out."""
    listed = any(entry.page == page and command.starts_with(entry.starts) for entry in NOT_RUN)
    return not listed and not command.starts_with("make")


# What they show is run by other tests of `make test`, with smaller machines.
AT_NIGHT = {
    "docs/shifts.md": "tests/unit/training/shifts/test_run.py",
    "docs/deploy.md": "tests/unit/test_fleet.py",
    "docs/evaluation.md": "tests/unit/training/evaluation/test_evaluation.py",
    "docs/datasets.md": "tests/unit/training/bundle/test_sound_commands.py",
}

PAGES_THAT_RUN = tuple(page for page in PAGES if any(is_run(page, command) for command in commands(page)))


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_wheeltapper_command_is_one_that_the_parser_takes(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in commands(page):
        for words in wheeltapper_calls(command):
            # the data set that CONTRIBUTING adds
            words = ["csv" if word == "bench-rig" else word for word in words]
            assert _parses(words), f"{page}: {command.text}: {capsys.readouterr().err}"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_example_of_a_help_text_is_one_that_the_parser_takes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # given the examples below the options
    with pytest.raises(SystemExit):
        build_parser(command).parse_args([command, "--help"])
    examples = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  wheeltapper ")]
    # then each is a command line
    for example in examples:
        for words in wheeltapper_calls(Command(re.split(r"\s{3,}", example)[0])):
            assert _parses(words), f"{example}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", PAGES)
def test_options_named_in_the_text_exist(page: str) -> None:
    # given `wheeltapper train .. --set KEY=VALUE` inside of a sentence
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    for quoted in re.findall(r"`wheeltapper\s([^`]+)`", text):
        words = quoted.split()
        assert words[0] in COMMANDS, f"{page}: `wheeltapper {quoted}`: no such command"
        known = build_parser(words[0]).format_help() + _help_of(words[0])
        for option in re.findall(r"(?<!\S)\[?(--[a-z-]+)", quoted):
            assert f"{option} " in known or f"{option}\n" in known or f"{option}]" in known, f"{page}: {option}"


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page: str) -> None:
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    targets = phony[1].split()
    text = (CHECKOUT / page).read_text(encoding="utf-8")
    named = [program[1] for command in commands(page) for program in command.programs() if program[0] == "make"]
    named += re.findall(r"`make ([a-z-]+)", text)
    assert set(named) <= set(targets)


@pytest.mark.parametrize("entry", NOT_RUN, ids=lambda entry: f"{entry.page}: {entry.starts}")
def test_the_table_of_what_is_not_run_has_no_entry_for_a_command_that_is_gone(entry: NotRun) -> None:
    assert entry.page in PAGES
    assert any(command.starts_with(entry.starts) for command in commands(entry.page)), "remove it from NOT_RUN"


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "SECURITY.md"])
def test_every_link_leads_to_a_page_and_a_heading(page: str) -> None:
    path = CHECKOUT / page
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in _anchors(linked), f"{page}: {target}"


def _anchors(page: Path) -> set[str]:
    """Names of a page's headings, as Markdown renderers make them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_data_set_of_contributing_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # given the module and the entry of the page, and a run in that layout
    page = (CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    module, entry = (
        re.sub(r"^   ", "", block, flags=re.MULTILINE)
        for block in re.findall(r"^ *```python\n(.*?)^ *```$", page, re.MULTILINE | re.DOTALL)
    )
    (tmp_path / "bench_rig_of_the_docs.py").write_text(module, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    entry = entry.replace("wheeltapper.training.datasets.bench_rig", "bench_rig_of_the_docs")
    info = eval(entry.strip().rstrip(","), {"DatasetInfo": DatasetInfo})
    monkeypatch.setitem(CATALOGUE, info.name, info)
    rows = "".join(f"2026-01-01T00:0{row}:00Z,{row},{row / 2},{int(row == 8)}\n" for row in range(10))
    (tmp_path / "run-1.csv").write_text("time,flow,pressure,label\n" + rows)
    # when it is loaded by its name
    series = load_series("bench-rig", tmp_path)
    # then it is what the page says
    assert (series.entity, series.channels, series.units) == ("run-1", ("flow", "pressure"), ("m3/h", "bar"))
    assert (series.train.shape, series.test.shape) == ((5, 2), (5, 2))
    assert [(segment.start, segment.stop) for segment in series.segments] == [(3, 4)]


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize("page", PAGES_THAT_RUN)
def test_the_commands_of_a_page_run_as_written(page: str, tmp_path: Path, broker_port: int) -> None:
    # given an empty folder
    (tmp_path / "docs").mkdir()
    # when its blocks run one after the other, on a broker of their own where they start one, then none fails
    for block in blocks(CHECKOUT / page):
        starts_broker = any(command.starts_with("wheeltapper broker") for command in block)
        port = free_port() if starts_broker else broker_port
        script = "\n".join(with_broker(command.text, port) for command in block if is_run(page, command))
        if script:
            _run(script, tmp_path, port)


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES_THAT_RUN if page not in AT_NIGHT])
def test_the_commands_of_a_page_run(page: str, tmp_path: Path, broker_port: int) -> None:
    # given an empty folder
    (tmp_path / "docs").mkdir()
    # when its blocks run one after the other, commands that need no shell in one process, then none fails
    waiting: list[list[str]] = []
    for block in blocks(CHECKOUT / page):
        chosen = [command for command in block if is_run(page, command)]
        plain = [Command(with_broker(command.text, broker_port)).plain_words() for command in chosen]
        if None not in plain and not any(command.starts_with("wheeltapper broker") for command in chosen):
            waiting += [words for words in plain if words is not None]
            continue
        _run_in_one_process(waiting, tmp_path, broker_port)
        waiting = []
        port = free_port() if any(command.starts_with("wheeltapper broker") for command in chosen) else broker_port
        _run("\n".join(with_broker(command.text, port) for command in chosen), tmp_path, port)
    _run_in_one_process(waiting, tmp_path, broker_port)


def test_pages_of_the_night_are_pages_whose_tests_exist() -> None:
    assert set(AT_NIGHT) <= set(PAGES_THAT_RUN)
    assert all((CHECKOUT / test).is_file() for test in AT_NIGHT.values())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wheeltapper alerts --since 2h    # the last two hours", ["alerts", "--since", "2h"]),
        (
            "wheeltapper models canary 'pump-*=bundles/1' \\\n  --share 0.2",
            ["models", "canary", "pump-*=bundles/1", "--share", "0.2"],
        ),
        ("wheeltapper broker &", None),
        ("wheeltapper label --export > labels", None),
        ("wheeltapper alerts; wheeltapper label", None),
        ("A=1 wheeltapper alerts", None),
        ("wheeltapper train --out $OUT", None),
        ("mkdir -p plant", None),
    ],
)
def test_commands_that_need_a_shell_are_known(text: str, words: list[str] | None) -> None:
    assert Command(text).plain_words() == words


@pytest.fixture(scope="module")
def broker_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of an embedded broker with the project's topics."""
    with EmbeddedBroker(log_file=tmp_path_factory.mktemp("broker") / "log") as broker:
        port = int(broker.client_address.rpartition(":")[2])
        _run(f"wheeltapper topics create --brokers 127.0.0.1:{port}", tmp_path_factory.mktemp("topics"), port)
        yield port


def _run_in_one_process(commands: list[list[str]], folder: Path, port: int) -> None:
    """Commands of `wheeltapper`, none of which may fail."""
    if commands:
        (folder / ".commands").write_text(json.dumps(commands))
        _run("python -m tests.docs.one_process < .commands", folder, port, limit_s=BLOCK_TIMEOUT_S * 2)


def _run(script: str, folder: Path, port: int, limit_s: float = BLOCK_TIMEOUT_S) -> None:
    """Run by bash, in a process group of its own that ends with it; `wheeltapper` and `python` are those of this test."""
    programs = folder / ".programs"
    programs.mkdir(exist_ok=True)
    for name, words in (("python", ""), ("wheeltapper", "-m wheeltapper")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
        (programs / name).chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WHEELTAPPER_")}
    environment |= {
        "PATH": f"{programs}:{environment['PATH']}",
        "PYTHONPATH": str(CHECKOUT),
        "WHEELTAPPER_KAFKA__BROKERS": f"127.0.0.1:{port}",
        "OMP_NUM_THREADS": "1",
    }
    with (folder / ".printed").open("w+") as printed:
        shell = subprocess.Popen(
            ["bash", "-e", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code: int | str = shell.wait(limit_s)
        except subprocess.TimeoutExpired:
            code = f"still running after {limit_s:g} s"
        finally:
            _end(shell)
        printed.seek(0)
        assert code == 0, f"exit code {code}:\n{script}\n{printed.read()[-3000:]}"


def _end(shell: subprocess.Popen[bytes]) -> None:
    """What the page left in the background ends too."""
    with suppress(ProcessLookupError):
        os.killpg(shell.pid, signal.SIGKILL)
    shell.wait()


def _parses(words: list[str]) -> bool:
    """True where the arguments are valid, or `--help`; argparse prints what is wrong with them."""
    try:
        build_parser(words[0]).parse_args(words)
    except SystemExit as end:
        return end.code == 0
    return True


def _help_of(command: str) -> str:
    """The help of one command, with its options."""
    parser = build_parser(command)
    return "".join(
        choice.format_help()
        for action in parser._actions
        for name, choice in (action.choices.items() if isinstance(action.choices, dict) else ())
        if name == command
    )
