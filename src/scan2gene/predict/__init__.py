"""The only forward pass, and the prediction table."""
