"""How work is cut and survives: tasks, exchanges, manifests, digests, runners, stages."""
