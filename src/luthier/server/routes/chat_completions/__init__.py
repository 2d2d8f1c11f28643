"""`/v1/chat/completions`: router, request preparation, response objects."""
