"""What is measured, by where it is read from. Each module gives readings by name; none writes to what it reads."""
