"""One HTML page about a finished run: tables and figures from files only, no torch, no network."""
