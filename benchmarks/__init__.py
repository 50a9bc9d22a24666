"""How fast it is beside raw SQL: `python -m benchmarks`. Also a small Django app to measure with.

A workload has contenders; all of them take part in each round, one after another, so that what
the machine does meanwhile hits them alike. What they wrote is then performed and checked.
"""
