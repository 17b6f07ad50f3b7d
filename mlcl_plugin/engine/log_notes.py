# SPDX-License-Identifier: Apache-2.0
"""Messages of MMEngine and MMPretrain that are for their developers."""

import logging

NOTES = (
    # CheckpointHook makes one that nobody uses.
    '"FileClient" will be deprecated',
    # Shapes of all stages of a timm backbone.
    'backbone feature_info[',
)
"""What a message begins with that says nothing about a run."""


class WithoutNotes(logging.Filter):
    """Leaves out messages that begin with one of :data:`NOTES`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is about the run."""
        return not record.getMessage().startswith(NOTES)


def leave_out_notes(logger: logging.Logger) -> None:
    """Let the handlers of a logger leave out :data:`NOTES`."""
    for handler in logger.handlers:
        if not any(isinstance(f, WithoutNotes) for f in handler.filters):
            handler.addFilter(WithoutNotes())
