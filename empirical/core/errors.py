"""The two exceptions that the command line turns into one line on standard error."""


class UserError(Exception):
    """Bad input: one message, "expected ..., got ...; do ...". The CLI prints it bare."""


class Refused(Exception):
    """Good input, but a proof or a check did not come out: exit status 1, not 2."""
