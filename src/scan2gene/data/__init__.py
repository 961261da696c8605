"""The prepared cohort as tensors, and augmentation on the device."""
