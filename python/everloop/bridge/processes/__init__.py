"""Calls of functions in other processes."""
