"""What was changed about engines while gateways run."""

from db.queries import deployments, engines
from db.session import Database


def test_the_last_change_of_an_engine_holds_and_forgets_what_it_had(database: Database) -> None:
    with database.transaction() as session:
        assert engines.changes(session) == {}
        for url in ("http://a", "http://b"):
            deployments.observe(session, url, "v1", "loaded")
        engines.want(session, "http://a", True, "ann")
        engines.want(session, "http://b", False, "ann")
        assert engines.changes(session) == {"http://a": True, "http://b": False}
        assert list(deployments.observed(session)) == []
    with database.transaction() as session:
        deployments.observe(session, "http://b", "v1", "loaded")
        engines.want(session, "http://a", False, "bob")
    with database.reading() as session:
        assert engines.changes(session) == {"http://a": False, "http://b": False}
        assert [row.engine for row in deployments.observed(session)] == ["http://b"]
