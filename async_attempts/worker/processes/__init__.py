"""Processes: the supervisor, its children, the signals between them, and workers without a child.

Builds all other parts and hands them to each other; performs and records nothing by itself.
"""
