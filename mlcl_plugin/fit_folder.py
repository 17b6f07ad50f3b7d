# SPDX-License-Identifier: Apache-2.0
"""The folder of a fit; ``mlcl fit`` looks at it before anything slow is imported."""

from pathlib import Path

STATE = 'fit.json'
"""The file with the options of the fit that a folder has."""


def check_fit_folder(out: Path, resume: bool) -> bool:
    """Whether a folder has a fit, which is to be resumed.

    Args:
        out (Path): The folder, which need not exist.
        resume (bool): Whether to go on with its fit.

    Raises:
        FileExistsError: If there is a fit that is not to be resumed, or anything else.
    """
    if (out / STATE).is_file():
        if not resume:
            raise FileExistsError(
                f"'{out}' has a fit already. Continue it with resume=True, choose "
                'another folder, out=DIR, or delete this one.'
            )
        return True
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"'{out}' is a file. Choose a folder: out=DIR.")
    if out.is_dir() and any(out.iterdir()):
        raise FileExistsError(
            f"'{out}' is not empty and has no fit. Choose another folder: out=DIR."
        )
    return False
