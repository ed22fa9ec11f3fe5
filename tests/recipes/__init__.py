"""The recipes of the README, run by test_recipes.py against real servers on loopback."""
