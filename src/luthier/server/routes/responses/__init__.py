"""`/v1/responses` and `/v1/conversations`: items, their translation to a chat, responses and their events."""
