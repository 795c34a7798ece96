"""Figures that the design promises, each side by side with what it is compared with."""
