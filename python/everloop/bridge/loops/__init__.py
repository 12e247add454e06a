"""Synchronous code waits for coroutines: in a step, on a thread, on a loop of its own."""
