"""Questions to any server with OpenAI's chat completions, ours included."""
