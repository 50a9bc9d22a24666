"""Other packages that keep a queue in the database, each driven as it advises.

One module for each, of its name: its tasks, how it is enqueued to, and how its workers are run.
All work on the same PostgreSQL, as durably, with arguments of the same size (none encrypts them).
"""
