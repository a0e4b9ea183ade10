"""A first project file from two tables: what their columns look like, what is guessed from that, and the file."""
