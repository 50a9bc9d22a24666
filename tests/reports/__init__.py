"""What users of other queues have reported in public, and what happens here.

One test for each report, which its docstring names by project and number. A test belongs here if
the report could have been one about this package: the same interleaving, against real databases.
"""
