"""Deployment: the embedded broker, containers, Compose."""
