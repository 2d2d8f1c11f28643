"""OpenAI's evals: items of data sources, requests to the model that is sampled, and grades by criterion."""
