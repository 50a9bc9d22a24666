"""A project with an attempt model of its own, to be loaded by a process of its own."""
