"""The small project that the tests enqueue from: a shop."""
