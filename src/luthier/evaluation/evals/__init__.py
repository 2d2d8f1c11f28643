"""OpenAI's evals: items of data sources, requests to the sampled model, and grades by criterion."""
