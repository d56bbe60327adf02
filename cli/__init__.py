"""The command `ruminate`: starts and supervises one machine's processes, and is a client of the gateway otherwise."""
