"""The fork server's first import: from then on, the server and its children end when the sweep ends."""

from .fork_server import die_with_parent

die_with_parent()
