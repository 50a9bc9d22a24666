"""One execution: from a claim to an outcome, and the one place that records outcomes.

Knows neither who performs beside it nor when the next claim comes.
"""
