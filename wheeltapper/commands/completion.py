"""`wheeltapper completion`: print what makes a shell complete commands, options and names."""

from __future__ import annotations

import argparse

EPILOG = """
examples:
  eval "$(wheeltapper completion bash)"                    in ~/.bashrc
  eval "$(wheeltapper completion zsh)"                     in ~/.zshrc, after compinit
  wheeltapper completion fish > ~/.config/fish/completions/wheeltapper.fish

It completes commands, options and their values, detectors, their settings, and the entities of a data set.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    from wheeltapper.completion import SHELLS

    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("shell", choices=SHELLS, metavar="|".join(SHELLS), help="which shell")


def run(arguments: argparse.Namespace) -> int:
    from wheeltapper.completion import shell_code

    print(shell_code(arguments.shell), end="")
    return 0
