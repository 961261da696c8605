"""Scans in: DICOM and NIfTI to `Volume`, and the series index."""
