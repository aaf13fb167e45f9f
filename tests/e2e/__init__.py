"""A package, so that what has its scope (the running demo) ends with its tests and not with the session."""
