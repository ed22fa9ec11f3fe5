"""The recipes: each is short, and run by the tests against real servers on loopback."""
