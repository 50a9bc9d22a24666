"""The demo: orders are placed, a worker performs what they promised, and each claim is checked."""
