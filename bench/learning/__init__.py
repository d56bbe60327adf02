"""Does it learn, over weeks, and why? `python -m bench.learning NAME`; one round is `python -m bench.learning_round`."""
