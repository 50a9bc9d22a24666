"""Facts that all parts of a worker share: its options, its lease, its sessions, shared memory.

Calls no target and decides nothing; imports nothing else of the worker.
"""
