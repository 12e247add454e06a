"""Who waits for whom, and what is said of waits that would never end."""
