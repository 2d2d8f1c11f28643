"""`/v1/responses` and `/v1/conversations`: items, the chat that they mean, responses and their events."""
