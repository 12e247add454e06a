"""`everloop top` and `everloop dump`: how a process that listens does (`EVERLOOP_LISTEN`), asked from outside."""
