"""The cost of a response in a gateway, end to end: upstream, gateway and load generator are processes on loopback."""
