"""What is kept of what happened: accepted events, refused records."""
