"""The fuzzer: see `__main__.py`. In a folder of its own so that collecting tests does not import it."""
