"""Kinds of doubt about what an example teaches: the form is right, the content may not be."""

from luthier.data.findings.kinds import Kind

QUALITY: dict[str, Kind] = {}
