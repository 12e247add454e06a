"""Synchronous faces of what is asynchronous, and the reverse."""
