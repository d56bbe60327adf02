"""Every question the house asks of its record, by name. Each takes a session first; none commits."""
