"""The wait-for graph: it shows who waits for whom, and finds waits that would never end."""
