"""The commands of `manage.py`: they parse flags, and have no logic of their own."""
