"""The floor beneath stream and training: windows, clock, imputation, calibration, thresholds, alert life, the scoring loop.

Pure numpy: no Kafka, no settings files, no wall clock, no randomness. The worker, `backtest`, `evaluate` and calibration
call this same code, so what was evaluated is what runs.
"""
