"""What assistants and tools may read of a project."""
