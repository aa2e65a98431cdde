"""Questions to any server that speaks OpenAI's chat completions, ours included."""
