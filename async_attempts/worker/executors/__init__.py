"""The threads and the event loop that perform what is in flight.

They take claims and bring back executions; they write nothing to the database themselves.
"""
