"""Requests of many clients against a gateway or parties: rates, waits, errors, and what roles and links take."""
