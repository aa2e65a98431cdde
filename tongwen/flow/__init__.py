"""How work is cut into tasks and survives: tasks, exchanges, manifests, digests, runners, stages."""
