"""The judge: every detector on every entity of every data set, one table that says who is better and by how much.

A run reads top to bottom in `run.compare`: what there is (`sources`), who takes part (`contenders`), what has to be done
(`jobs`), what is done already (`store`), doing the rest on all cores (`pool`, `worker`), and the reports (`results`,
`summary`, `report`, `document`).
"""
