"""Putting it together and running it: settings, the command line, the local servers, the demo.

The only room that reads the environment; every other gets what it needs as arguments.
"""
