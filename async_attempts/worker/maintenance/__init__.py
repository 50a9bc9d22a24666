"""Chores for all workers of a database: rescue, expire, prune, enqueue the ticks of schedules.

Runs in the loop's thread, in short steps; claims and performs nothing.
"""
