"""One module a command, imported when it is called: `add_arguments(parser)` and `run(arguments) -> exit code`."""
