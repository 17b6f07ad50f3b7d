# SPDX-License-Identifier: Apache-2.0
"""The commands of ``mlcl``: what each is called, and the tool that does the same.

To add one, write ``mlcl_plugin/commands/NAME.py`` with ``add_arguments(parser)`` and
``run(args)``, and a line here.
"""

from typing import NamedTuple


class Command(NamedTuple):
    """A command of ``mlcl``.

    Attributes:
        group (str): The heading in ``mlcl --help``.
        summary (str): What it does, in a line.
        tool (str, optional): The file below ``tools/`` that does the same.
        needs_stack (bool): Whether MMPretrain must be there before it runs.
    """

    group: str
    summary: str
    tool: str | None = None
    needs_stack: bool = True


#: By name; the module in ``mlcl_plugin/commands`` has ``_`` in place of ``-``.
COMMANDS: dict[str, Command] = {
    'fit': Command('models', 'from a table or folder to a trusted model', 'fit.py'),
    'train': Command('models', 'train a model', 'train.py'),
    'tune': Command('models', 'search for settings of a config', 'tune.py'),
    'test': Command('models', 'evaluate a checkpoint on a data set', 'test.py'),
    'infer': Command('models', 'find the labels of images', 'infer.py'),
    'export': Command(
        'models', 'write a model as ONNX, pt2 or safetensors', 'export.py'
    ),
    'neighbours': Command(
        'models',
        'let the nearest training images vote on labels, too',
        'fit_neighbours.py',
    ),
    'features': Command(
        'models',
        'compute the features of a frozen backbone once',
        'extract_features.py',
    ),
    'mulcon-weights': Command(
        'models',
        'convert the weights that the authors of MulCon released',
        'model_converters/mulcon_to_mlcl.py',
    ),
    'check': Command('data', 'check the data sets of a config', 'check_dataset.py'),
    'convert': Command('data', 'convert and divide label files', 'convert_dataset.py'),
    'issues': Command('data', 'find labels that are probably wrong'),
    'select': Command('data', 'choose the photographs to label next'),
    'digits': Command(
        'data',
        'make scenes of handwritten digits, for trials',
        'dataset_converters/make_digit_scenes.py',
    ),
    'thresholds': Command(
        'scores', 'find thresholds and temperatures', 'analysis_tools/thresholds.py'
    ),
    'evaluate': Command(
        'scores', 'evaluate and compare score dumps', 'analysis_tools/evaluate.py'
    ),
    'embeddings': Command(
        'scores',
        'measure the embeddings of labels',
        'analysis_tools/embedding_quality.py',
    ),
    'attention': Command(
        'scores',
        'draw where a model looks for each label',
        'visualizations/vis_label_attention.py',
    ),
    'index': Command('models', 'find photographs whose label is like that of another'),
    'show': Command(
        'scores', 'draw attention, neighbours, a map, prototypes or curves'
    ),
    'report': Command('scores', 'write a page about a training, as one HTML file'),
    'demo': Command('package', 'show labels of photographs in the browser'),
    'digits-demo': Command(
        'package', 'train and show a small model within minutes', 'demo.py'
    ),
    'models': Command('package', 'list the recipes', needs_stack=False),
    'doctor': Command('package', 'examine the installation', needs_stack=False),
}


def module_name(command: str) -> str:
    """The name of a command's module in ``mlcl_plugin/commands``."""
    return command.replace('-', '_')
