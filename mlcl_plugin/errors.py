# SPDX-License-Identifier: Apache-2.0
"""Errors of files and folders that a user can mend, whatever tool meets them."""


class CheckpointError(ValueError):
    """A file cannot be used as a checkpoint, or does not fit the model."""


class MissingCheckpointError(FileNotFoundError):
    """There is no such checkpoint."""


class SaveError(OSError):
    """A checkpoint cannot be written."""


class OtherLabelsError(ValueError):
    """A checkpoint, decisions or a data set have other labels than expected."""


class FolderInUseError(ValueError):
    """Another run writes into the folder."""


class RestartError(ValueError):
    """A run that is started again would begin anew."""


class FinishedError(ValueError):
    """A run that is to go on has nothing left to train."""


class LostProcessError(RuntimeError):
    """Another process of the run does not answer."""


class EngineError(ValueError):
    """ONNX Runtime cannot compute a model, or not as torch does."""
