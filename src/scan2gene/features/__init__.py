"""Numbers that describe an exam: tables for learners that need no network."""
