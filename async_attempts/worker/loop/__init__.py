"""The claim loop: when to claim, how much, and what is in flight until it is recorded.

Belongs to one thread, which calls no code of a project: executors and announcers do that.
"""
