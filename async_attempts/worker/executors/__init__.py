"""The threads and the event loop that perform what is in flight.

They decide neither what is claimed nor when outcomes are recorded.
"""
