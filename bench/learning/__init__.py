"""Does it learn, over weeks and by what? `python -m bench.learning NAME`; one round: `bench.learning_round`."""
