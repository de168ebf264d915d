"""Changes while the worker runs: deployments from the topic `models`, operators' words from `alarm-commands`."""
