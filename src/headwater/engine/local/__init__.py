"""The engine of this machine: in memory, or spilled to disk by key inside a memory budget."""
