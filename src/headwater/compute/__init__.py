"""Arrays in, arrays out: which events count, and what they add up to. No I/O, no definitions but freshness and windows."""
