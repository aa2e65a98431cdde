"""How one training run is spread over processes: one kind of parallelism a file."""
