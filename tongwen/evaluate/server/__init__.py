"""A server with OpenAI's interface as a model: asked over HTTP, judged like a folder."""

SERVER_FILE = "server.json"
"""In place of a model's folder: the address and the model's name."""
PROBE_FILE = ".server"
"""Among a stage's parts: what tells the server's model from another."""
