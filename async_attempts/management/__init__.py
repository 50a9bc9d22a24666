"""The commands of `manage.py`: they parse flags and call; no logic of their own."""
