"""HTTP plumbing shared by all routes: auth, bodies, errors, pagination, the OpenAPI document."""
