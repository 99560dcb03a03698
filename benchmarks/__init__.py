"""Measurements: what the plans cost, how planning grows, what a job costs. `python -m benchmarks --help`."""
