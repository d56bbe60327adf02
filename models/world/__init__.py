"""A closed world of everyday requests: what people ask in it, what good and poor answers look like, who asks."""
