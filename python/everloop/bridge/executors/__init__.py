"""Calls of functions by executors and subinterpreters of the standard library, or of others."""
