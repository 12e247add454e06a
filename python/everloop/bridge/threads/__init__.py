"""Calls of functions on threads: how many at once, and on whose threads."""
