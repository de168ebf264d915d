"""Commands of Markdown pages: found in their code blocks, parsed by the real parser, or made ready for a shell."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

# A block whose first line begins with one of these is a block of commands.
STARTERS = frozenset(
    [
        "wheeltapper",
        "make",
        "python",
        "python3.11",
        "mkdir",
        "printf",
        "kcat",
        "java",
        "avrogen",
        "avrogencpp",
        "npx",
        "docker",
        "kubectl",
        "hadolint",
        "pip",
    ]
)
SHELLS = frozenset({"console", "sh", "bash", "shell"})

_FENCE = re.compile(r"^\s*```(\w*)\s*$")
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")
_HERE_DOCUMENT = re.compile(r"<<'?(\w+)'?")
_HOST = re.compile(r"\b(?:127\.0\.0\.1|localhost|HOST):(?:9092|PORT)\b|\bkafka-\d:9092\b")


@dataclass(frozen=True)
class Command:
    """One command of a page: a line, with the here-document that belongs to it."""

    text: str

    def programs(self) -> list[list[str]]:
        """The words of each program that the line calls, as a shell splits it, without comment, assignments and redirections."""
        line = self.text.replace("\\\n", " ").split("\n")[0]
        programs: list[list[str]] = [[]]
        redirected = False
        for word in shlex.split(line, comments=True):
            if word in ("&", "&&", ";", "|"):
                programs.append([])
                redirected = False
            elif word == ">":
                redirected = True
            elif not redirected and (programs[-1] or not _ASSIGNMENT.match(word)):
                programs[-1].append(word)
        return [words for words in programs if words]

    def plain_words(self) -> list[str] | None:
        """The words behind `wheeltapper` of a command that needs no shell; None for any other."""
        line = self.text.replace("\\\n", " ")
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            return None
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        signs = any(word and set(word) <= set("&|;<>()") for word in lexer)
        if "\n" in line or "$" in line or signs or words[:1] != ["wheeltapper"]:
            return None
        return words[1:]

    def starts_with(self, prefix: str) -> bool:
        """Compared word by word, however many blanks are between them."""
        return self.text.split()[: len(prefix.split())] == prefix.split()


def blocks(page: Path) -> Iterator[list[Command]]:
    """The commands of each block of commands, in the page's order."""
    for text in _code_blocks(page.read_text(encoding="utf-8").splitlines()):
        yield list(_commands(text))


def wheeltapper_calls(command: Command) -> list[list[str]]:
    """What follows each `wheeltapper` of a command, ready for the argument parser.

    A synopsis counts as its first reading: `[--json FILE]` is given, of `a|b` the first is taken, `...` is left out.
    """
    calls = []
    for program in command.programs():
        if Path(program[0]).name == "wheeltapper":
            words = [word.strip("[]") for word in program[1:]]
            calls.append([word.split("|")[0] for word in words if word.strip(".")])
    return calls


def with_broker(text: str, port: int) -> str:
    """The same command on a broker at this port."""
    if text.split()[:2] == ["wheeltapper", "broker"] and "--listen" not in text:
        text = text.replace("broker", f"broker --listen 127.0.0.1:{port}", 1)
    return _HOST.sub(f"127.0.0.1:{port}", text)


def _code_blocks(lines: list[str]) -> Iterator[list[str]]:
    """Fenced blocks of a shell, and indented blocks that begin with a command."""
    fence: str | None = None
    block: list[str] = []
    for line in [*lines, ""]:
        mark = _FENCE.match(line)
        if mark:
            if fence in SHELLS or (fence is None and _is_command(block)):
                yield block
            fence, block = (mark[1] if fence is None else None), []
        elif fence is not None or line.startswith("    "):
            block.append(line)
        elif line.strip() or not block:
            if _is_command(block):
                yield block
            block = []
    if _is_command(block):
        yield block


def _is_command(block: list[str]) -> bool:
    words = next((line.split() for line in block if line.strip()), [])
    while words and _ASSIGNMENT.match(words[0]):
        del words[0]
    return bool(words) and Path(words[0]).name in STARTERS


def _commands(lines: list[str]) -> Iterator[Command]:
    least = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    rest = iter(line[least:] for line in lines)
    for line in rest:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        text = [line]
        while text[-1].endswith("\\"):
            text.append(next(rest))
        here = _HERE_DOCUMENT.search(line)
        while here is not None and text[-1] != here[1]:
            text.append(next(rest))
        yield Command("\n".join(text))
