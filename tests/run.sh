#!/usr/bin/env bash
# Run every test, three at a time (on two cores: many wait); what failed runs once more, alone, and has to pass then.
# Two cores that are crowded, or lent to somebody else for some seconds, break a test that waits. What is wrong fails
# twice, and what passed only alone is listed at the end: it is worth a look.
set -uo pipefail
python="$1"
routes=tests/server/test_server_schemathesis.py # its tests of all routes are called alike, and of such xdist runs one
"$python" -m pytest "$routes" || exit
"$python" -m pytest -n 3 --no-loadscope-reorder --durations 30 --ignore "$routes"
status=$?
failed=.pytest_cache/v/cache/lastfailed
if [ "$status" -ne 1 ] || [ "$(grep -c '": true' "$failed")" -gt 10 ]; then
    exit "$status" # passed, or more than a crowded machine explains, or not a failure of tests
fi
cp "$failed" .pytest_cache/failed-first
"$python" -m pytest --last-failed --last-failed-no-failures none || exit
echo "passed only when they ran once more, alone:"
grep -o '".*"' .pytest_cache/failed-first
