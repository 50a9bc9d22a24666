"""Performing attempts: claim a batch, call the targets, record what came of it.

The loop claims and acknowledges; the runner alone calls user code, and turns whatever happens
there into an outcome.
"""
