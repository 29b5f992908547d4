"""What answers requests: servers that speak OpenAI's chat completions, and models in this process."""
