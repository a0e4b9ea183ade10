"""What has been applied of each project: plan, diff, lint, apply. SQLite, or PostgreSQL by URL."""
