"""Classical models: what a network must beat."""
