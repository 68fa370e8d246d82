"""The errors edgexp raises on purpose: one line that says what is wrong, where, and what to do.

The command line prints the message and exits with `exit_code`; a traceback appears only with `--debug`, and with it the `details` that an
error brings: what a child process said before it died, or where in it an error was raised.
"""


class EdgexpError(Exception):
    """A failure the user can act on. The message is one complete sentence or two, with the file, key or name at fault."""

    exit_code = 1

    def __init__(self, message: str = "", *, details: str = ""):
        super().__init__(message)
        self.details = details


class UsageError(EdgexpError):
    """The request itself is wrong: an unknown name, an option out of range, options that exclude each other."""

    exit_code = 2
