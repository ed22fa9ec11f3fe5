"""Benchmarks, and the traffic that they run on."""
