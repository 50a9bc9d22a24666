"""The example: a small shop whose calls, mails and rows go out by attempts."""
