"""What was said, by which weights, what came of it: tables, migrations, queries by name, the one place that commits.

Knows nothing of HTTP, engines or training; imports no other room.
"""
