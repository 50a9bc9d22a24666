"""Owns the statements of each kind of database, and nothing else; what they mean is the store's."""
