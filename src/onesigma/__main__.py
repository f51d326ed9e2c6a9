"""`python -m onesigma` is the command line."""

from onesigma.cli import main

main()
