"""A teacher model writes examples: topics to questions to answers, function definitions to calls."""
