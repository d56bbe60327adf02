"""How fast the page is in a real browser. `python -m bench.ui`; what it measures stands in `bench.ui.__main__`."""
