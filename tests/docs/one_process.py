"""Commands of a page one after the other in this process, which is started once: `python -m tests.docs.one_process < COMMANDS`.

COMMANDS is JSON: a list of the words behind `wheeltapper`, of each command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence

from wheeltapper.cli import main


def run_all(commands: Iterable[Sequence[str]]) -> int:
    """The exit code of the first command that fails; 0 where none does."""
    for words in commands:
        print("$ wheeltapper", *words, flush=True)
        try:
            code = main(list(words))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stdout.flush()
        if code:
            return code
    return 0


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    # Commands find what a page gives them: no terminal and no input.
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.exit(run_all(asked))
