"""Graders, function-call scores, comparisons with confidence, reports."""
