"""How Hypothesis runs here."""

from hypothesis import settings

# A busy machine is no fault of what is tested: time belongs to benchmarks.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
