"""Results as people read them: one page for each, its forms, pictures and words."""
