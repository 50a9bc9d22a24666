"""Answers about a worker: HTTP probes, systemd, and whether its database is ready.

Reads shared memory and never writes it; claims and performs nothing.
"""
