"""`python -m edgexp` is `edgexp`."""

from edgexp.cli import main

main()
