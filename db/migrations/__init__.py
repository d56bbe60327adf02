"""Alembic's environment; run it by `db.session.Database.migrate`."""
