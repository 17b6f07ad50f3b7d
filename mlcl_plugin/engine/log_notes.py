# SPDX-License-Identifier: Apache-2.0
"""Messages of MMEngine that are for its developers."""

import logging

NOTES = (
    # CheckpointHook makes one that nobody uses.
    '"FileClient" will be deprecated',
)
"""What a message begins with that says nothing about a run."""


class WithoutNotes(logging.Filter):
    """Leaves out messages that begin with one of :data:`NOTES`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is about the run."""
        return not record.getMessage().startswith(NOTES)
