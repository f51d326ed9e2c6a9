"""Laws are tried on the same examples every time; `--hypothesis-profile=explore` looks for new ones."""

from hypothesis import settings

settings.register_profile("same", derandomize=True)
settings.register_profile("explore")
settings.load_profile("same")
