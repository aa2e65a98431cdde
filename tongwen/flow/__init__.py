"""How work is divided and survives kills: tasks, exchanges, manifests, digests, runners, stages."""
