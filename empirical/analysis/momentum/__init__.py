"""Files of trained language models -> how they differ from plain attention, and verdicts on it.

The runs of one folder come in; chosen etas, comparisons and verdicts go out.
"""
