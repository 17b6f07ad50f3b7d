# SPDX-License-Identifier: Apache-2.0
"""The results of the demo as Markdown."""

import torch

from ..engine.environment import count_cores, describe_processor
from ..text_table import text_table

MODELS = {
    'step1': 'step 1',
    'step2_without_contrast': 'step 2 without contrast',
    'step2': 'step 2 with contrast',
}
"""The models that are compared: the title of each."""
METRICS = {
    'mAP': 'mAP',
    'CF1': 'CF1',
    'OF1': 'OF1',
    'top3_CF1': 'top-3 CF1',
    'top3_OF1': 'top-3 OF1',
}
"""The title of each metric."""


def describe_hardware() -> str:
    """Describe the processor, how much of it is used, and the GPUs."""
    parts = [
        describe_processor().name,
        f'{count_cores()} cores',
        f'{torch.get_num_threads()} threads',
    ]
    gpus = range(torch.cuda.device_count())
    parts += [torch.cuda.get_device_name(i) for i in gpus] or ['no GPU']
    return ', '.join(parts)


def format_report(content: dict) -> str:
    """Write results as Markdown.

    Args:
        content (dict): The content of results.json.

    Returns:
        str: The text, with a row per model in its table.
    """
    table = text_table(
        ['', *METRICS.values(), 'minutes'],
        [
            [
                MODELS[model],
                *(f'{values[key]:.2f}' for key in METRICS),
                f'{values["minutes"]:.1f}',
            ]
            for model, values in content['models'].items()
        ],
    )
    scenes, versions = content['scenes'], content['versions']
    return '\n'.join(
        [
            '# Demo: scenes of handwritten digits',
            '',
            table,
            '',
            f'Percent on {scenes["val"]} validation scenes, of the EMA weights of the '
            'last epoch. Both runs of step 2 start from the weights of step 1 and see '
            'the same views in the same order. Minutes are those of the step alone. '
            'One seed says little about which of two models with close values is '
            'better.',
            '',
            f'- command: `{content["command"]}`',
            f'- seed: {content["seed"]}',
            f'- scenes: {scenes["train"]} for training, {scenes["val"]} for validation',
            f'- date: {content["date"]}, after {content["minutes"]:.1f} minutes in all'
            + (' since it was resumed' if content['resumed'] else ''),
            f'- hardware: {content["hardware"]}',
            '- versions: ' + ', '.join(f'{k} {v}' for k, v in versions.items()),
            '',
        ]
    )
