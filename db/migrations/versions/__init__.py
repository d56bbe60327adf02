"""The migrations, oldest first; each is written once and then left alone."""
