"""The only forward pass: validation, prediction, altered copies and maps use it."""
