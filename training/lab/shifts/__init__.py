"""The shift laboratory: streams with a known change in the middle, each with the right answer, and what each strategy makes of them.

A run reads top to bottom in `run.run_shifts`: which streams there are (`scenarios`, `motors`, made of `changes` and `faults`), who
takes part (`strategies`), what is measured (`measures`), and the report (`report`).
"""
