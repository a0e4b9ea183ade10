"""What has been applied: of each project its definitions, and a log of who changed them when. SQLite, or PostgreSQL by URL."""
