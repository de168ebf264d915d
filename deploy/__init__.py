"""How it runs: the embedded broker, containers, Compose."""
