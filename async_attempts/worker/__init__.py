"""Performing attempts: claim a batch, call the targets, record what came of it.

A supervisor forks children and looks after them. In each, one loop claims and acknowledges; the
runner and the event loop alone call targets, and turn whatever happens there into an outcome.
"""
