"""Pseudonyms, key files, and what takes identities out of texts."""
