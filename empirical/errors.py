"""The one exception that tells a user what was expected, what was found, and what to do."""


class UserError(Exception):
    """Bad input: one message, "expected ..., got ...; do ...". The CLI prints it bare."""
