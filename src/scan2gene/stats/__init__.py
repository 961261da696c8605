"""Metrics, intervals, tests and linear models: arrays in, numbers out; no torch, no files."""
