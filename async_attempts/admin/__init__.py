"""Triage in Django's admin."""
