"""`/v1/completions`: router, request preparation, response objects."""
