"""What a study leaves open, and what it will cost."""
