# SPDX-License-Identifier: Apache-2.0
"""Start a training step from the weights of a checkpoint."""

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from ..pointers import STARTED_FROM, write_pointer


class StartHook(Hook):
    """Let a step start from the EMA weights of a checkpoint and from nothing else.

    The ``state_dict`` of a checkpoint already holds the EMA weights. If the rest stayed
    in it, MMEngine's ``EMAHook`` would overwrite the model with its own copy, which was
    made before the runner initialised the weights. Weights that the checkpoint lacks,
    such as the projector, would then not start as their ``init_cfg`` says.

    Args:
        given (str, optional): A checkpoint that is not the run's own. It is noted in
            the work folder for a later resume. Defaults to None.
    """

    # before the EMA hook
    priority = 'VERY_HIGH'

    def __init__(self, given: str | None = None):
        self.given = given

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remove the other weights of the step that the checkpoint comes from."""
        checkpoint.pop('ema_state_dict', None)

    def before_train(self, runner) -> None:
        """Note the given checkpoint, after it was found to fit the model."""
        if self.given is not None and is_main_process():
            write_pointer(runner.work_dir, STARTED_FROM, self.given)
