"""Synthetic patients with a planted, known signal, written as real DICOM."""
