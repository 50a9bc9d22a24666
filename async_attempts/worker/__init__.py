"""Performing attempts: claim a batch, call the targets, record the outcomes.

`processes` builds a worker, `loop` claims and records, `executors` and `execution` call targets,
`maintenance` does the chores, `health` answers probes; `shared` is below all of them.
"""
