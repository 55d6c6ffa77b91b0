"""The old home of ``hf_mner_aug.exceptions``: it goes when no module names it, for ``errors`` is a verb's name."""

from hf_mner_aug.exceptions import *  # noqa: F403
