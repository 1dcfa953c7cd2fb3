"""A calculator for the terminal."""
