"""The tests: they read as the specification, and mirror the package."""
