"""Metrics, thresholds and intervals: tables in, tables out, no torch."""
