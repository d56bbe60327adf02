"""Does it learn, over weeks? `python -m bench.learning month`; a single round is `python -m bench.learning_round`."""
