"""The worker: decode -> window -> score -> threshold -> alert -> publish -> commit. Never imports torch."""
