"""First import of the fork server: makes the server end when the process of the sweep ends."""

from .fork_server import die_with_parent

die_with_parent()
