"""Files of trained language models -> how they differ from plain attention, and verdicts on it.

What comes in are the runs of one folder; what goes out are chosen etas, comparisons and verdicts.
"""
