"""One execution: from a claim to an outcome, and the one place that records outcomes.

Knows neither the executors beside it nor when the next claim comes.
"""
