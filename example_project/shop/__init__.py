"""Orders, and what is promised when one is placed."""
