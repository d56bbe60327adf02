"""How fast is a round? Ours beside TRL's GRPOTrainer with its own generation: `python -m bench.round`."""
