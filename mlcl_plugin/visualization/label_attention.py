# SPDX-License-Identifier: Apache-2.0
"""Where each label looks in an image, as numbers and as a picture sheet."""

import textwrap
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mmpretrain.models import BaseClassifier
from torch import nn

from ..evaluation.decisions import Decisions
from ..models.necks import LabelNeck
from ..targets import is_present, is_unknown
from .heat import GREY, STRENGTH, heat_map

# The outcome of a label: the colour of its frame, and words for those who cannot tell
# the colours apart.
OUTCOMES = {
    'correct': ('#1a7f37', '✓ correct'),
    'wrong': ('#cf222e', '✗ wrong'),
    'missed': ('#9a5700', '○ missed'),
    'unknown': ('#57606a', '? not annotated'),
}
# In inches.
PICTURE, GAP, MARGIN, LINE, HEAD = 1.5, 0.16, 0.15, 0.15, 0.9


@torch.no_grad()
def label_attention_maps(
    model: nn.Module, inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute scores and label attention of preprocessed images.

    Args:
        model (nn.Module): An ``ImageClassifier`` with a
            :class:`LabelNeck`. It is used in evaluation mode and then put
            back into its former mode.
        inputs (Tensor): ``(B, 3, H, W)``, as ``model.data_preprocessor`` gives
            them, on the model's device.

    Returns:
        tuple[Tensor, Tensor]: The scores ``(B, L)`` from 0 to 1, and the attention
        ``(B, heads, L, h, w)`` over the ``h x w`` places of the feature map, which
        sums to 1 over them; both float32. For a backbone that gives tokens without
        places the attention is ``(B, heads, L, N)``.

    Raises:
        ValueError: If the model has none of these necks or no head.
    """
    classifier = model if isinstance(model, BaseClassifier) else None
    neck = classifier.neck if classifier is not None and classifier.with_neck else None
    if classifier is None or not isinstance(neck, LabelNeck):
        got = 'no neck' if neck is None else f'the neck {type(neck).__name__}'
        raise ValueError(
            'Label attention needs a classifier with a LabelNeck, such as '
            'LabelAttentionNeck, LabelQueryDecoder or MLDecoderNeck, got '
            f'{type(model).__name__} with {got}.'
        )
    if not classifier.with_head:
        raise ValueError(
            'Label attention needs a classifier with a head, got '
            f'{type(model).__name__} without one.'
        )
    # The mode of every module, since parts may be frozen in evaluation mode.
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        feats = classifier.extract_feat(inputs, stage='backbone')
        embeddings, attention = neck(feats, return_attention=True)
        logits = classifier.head((embeddings,))
    finally:
        for module, training in modes.items():
            module.training = training
    # Half-precision sigmoids make ties.
    return logits.float().sigmoid(), attention.float()


def as_array(name: str, value, shape: tuple[int | None, ...]) -> np.ndarray:
    """Convert to a numpy array of a given shape, where None is any number.

    Raises:
        ValueError: If it has another shape.
    """
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    value = np.asarray(value)
    fits = value.ndim == len(shape) and all(
        want in (None, got) for want, got in zip(shape, value.shape)
    )
    if not fits:
        want = ', '.join('any' if size is None else str(size) for size in shape)
        raise ValueError(f'{name} must have the shape ({want}), got {value.shape}.')
    return value


def outcome_of(found: bool, present: bool, unknown: bool) -> str | None:
    """Classify the decision about a label.

    Args:
        found (bool): Whether the label is predicted.
        present (bool): Whether its target is present.
        unknown (bool): Whether its target is unknown.

    Returns:
        str | None: ``'correct'``, ``'wrong'``, ``'missed'``, ``'unknown'`` (predicted
        but not annotated), or None for a label that is correctly not predicted.
    """
    if found:
        if unknown:
            return 'unknown'
        return 'correct' if present else 'wrong'
    return 'missed' if present else None


def _select(
    scores: np.ndarray, found: np.ndarray, targets: np.ndarray, max_labels: int
) -> list[tuple[int, str]]:
    """Select labels to show, with outcomes: the predicted, then the missed ones."""
    present, unknown = is_present(targets), is_unknown(targets)
    shown = [
        (label, outcome)
        for label in np.argsort(-scores, kind='stable').tolist()
        if (outcome := outcome_of(found[label], present[label], unknown[label]))
    ]
    # A stable sort keeps the order of the scores within each group.
    shown.sort(key=lambda item: item[1] == 'missed')
    return shown[:max_labels]


def draw_map(ax, image: np.ndarray, attention: np.ndarray) -> None:
    """Draw a heat map over an image in pale grey."""
    black, white = GREY
    ax.imshow(image.mean(axis=2), cmap='gray', vmin=black, vmax=white)
    # Opacity follows the heat, so that the image shows where there is no attention. The
    # map is enlarged before, since matplotlib does not interpolate opacities.
    heat = heat_map(attention, *image.shape[:2])
    ax.imshow(heat, cmap='plasma', vmin=0, vmax=1, alpha=STRENGTH * heat)


def _wrap(names: Sequence[str], width: int = 22) -> list[str]:
    """Wrap the names of an image's labels to the width of a picture."""
    return textwrap.wrap(', '.join(names) or 'no label', width)


def prediction_sheet(
    images: Sequence[np.ndarray],
    scores: np.ndarray | torch.Tensor,
    maps: Sequence[np.ndarray | torch.Tensor],
    targets: np.ndarray | torch.Tensor,
    classes: Sequence[str],
    thr: float = 0.5,
    max_labels: int = 6,
    title: str | None = None,
) -> Figure:
    """Draw images beside the attention of each label found in them.

    One row per image: the image under its true labels, then one picture for each
    predicted label, by falling score, and for each missed label. These show the label's
    attention, averaged over the heads, as heat over the image in grey: none up to the
    attention of an even spread, full heat at three times that or at the map's maximum,
    whichever is more. Frame and title tell correct, wrong, missed and predicted but not
    annotated labels apart.

    Args:
        images (Sequence[np.ndarray]): N images ``(H, W, 3)`` uint8, RGB, as the
            network sees them.
        scores (np.ndarray | Tensor): ``(N, L)`` from 0 to 1.
        maps (Sequence[np.ndarray | Tensor]): The attention for each image,
            ``(heads, L, h, w)``; or a tensor ``(N, heads, L, h, w)``.
        targets (np.ndarray | Tensor): ``(N, L)``, 1 present, 0 absent, -1 unknown.
        classes (Sequence[str]): L names.
        thr (float): Lowest score with which a label is predicted. Defaults to 0.5.
        max_labels (int): Largest number of pictures in a row, beside the image.
            Defaults to 6.
        title (str, optional): A line above the sheet. Defaults to None.

    Returns:
        matplotlib.figure.Figure: The sheet; ``savefig(path)`` writes it.

    Raises:
        ValueError: If there is no image, a shape does not fit the others, or
            ``max_labels`` is not positive.
    """
    if len(images) == 0:
        raise ValueError('A picture sheet needs at least one image, got none.')
    if max_labels < 1:
        raise ValueError(f'max_labels must be positive, got {max_labels}.')
    shape = (len(images), len(classes))
    scores = as_array('scores', scores, shape)
    targets = as_array('targets', targets, shape)
    if len(maps) != len(images):
        raise ValueError(f'Got {len(images)} images but {len(maps)} attention maps.')
    if any(attention.ndim == 3 for attention in maps):
        raise ValueError(
            'Got attention (heads, L, N) to tokens without places, expected (heads, L, '
            'h, w). Let the backbone return a feature map (for a ViT: '
            "out_type='featmap')."
        )
    means = [
        as_array('every map', attention, (None, len(classes), None, None)).mean(axis=0)
        for attention in maps
    ]
    images = [as_array('every image', image, (None, None, 3)) for image in images]

    found = Decisions.from_thr(thr, len(classes)).predict(scores)
    shown = [
        _select(*rows, max_labels=max_labels) for rows in zip(scores, found, targets)
    ]
    truths = [
        _wrap([classes[i] for i in np.flatnonzero(is_present(target)).tolist()])
        for target in targets
    ]
    # The picture, its heading of at least two lines, and a free line.
    pictures = [PICTURE * min(1, im.shape[0] / im.shape[1]) for im in images]
    heights = [
        picture + (max(2, 1 + len(truth)) + 1) * LINE
        for picture, truth in zip(pictures, truths)
    ]
    bottoms = HEAD + np.cumsum(heights)
    # Wide enough for the legend.
    columns = max(4, 1 + max(map(len, shown)))
    width = 2 * MARGIN + columns * (PICTURE + GAP) - GAP
    height = bottoms[-1] + MARGIN
    figure = Figure(figsize=(width, height), dpi=120, facecolor='white')

    def place(column: int, number: int) -> Axes:
        x, y = MARGIN + column * (PICTURE + GAP), height - bottoms[number]
        size = (PICTURE / width, pictures[number] / height)
        ax = figure.add_axes((x / width, y / height, *size))
        ax.set(xticks=[], yticks=[])
        # Below its heading, if the photograph is wide.
        ax.set_anchor('NW')
        return ax

    def write(ax: Axes, text: str, **kwargs) -> None:
        # A class name may hold what matplotlib would read as a formula.
        ax.set_title(text, loc='left', fontsize=9, pad=4, parse_math=False, **kwargs)

    outcomes = {outcome for row_shown in shown for _, outcome in row_shown}
    _draw_head(
        figure, title or 'Labels found, and where the network looked for each', outcomes
    )
    for number, (image, truth) in enumerate(zip(images, truths)):
        ax = place(0, number)
        ax.imshow(image)
        write(ax, '\n'.join(['true:', *truth]))
        for column, (label, outcome) in enumerate(shown[number], start=1):
            ax = place(column, number)
            draw_map(ax, image, means[number][label])
            colour, words = OUTCOMES[outcome]
            score = f'{classes[label]}  {scores[number, label]:.2f}'
            write(ax, f'{words}\n{score}', color=colour)
            for spine in ax.spines.values():
                spine.set(color=colour, linewidth=2.5)
        if not shown[number]:
            ax = place(1, number)
            ax.axis('off')
            ax.text(0, 1, 'no label found,\nnone missed', va='top', fontsize=9)
    return figure


def _draw_head(figure: Figure, title: str, outcomes: set[str]) -> None:
    """Write what the sheet shows above its first row."""
    legend = {
        name: style
        for name, style in OUTCOMES.items()
        # Many datasets are annotated completely and have no such label.
        if name != 'unknown' or name in outcomes
    }
    width, height = figure.get_size_inches()
    x, y = MARGIN / width, 1 - MARGIN / height
    figure.text(x, y, title, va='top', fontsize=12, weight='bold')
    figure.text(
        x,
        y - 0.26 / height,
        'Left: the image and its true labels. Beside it: each label that was found, '
        'and each that was missed, with its score.\n'
        'Bright: where the network looks for this label (mean of its attention heads). '
        'Nothing bright: it looks everywhere alike.',
        va='top',
        fontsize=8,
        linespacing=1.3,
    )
    figure.legend(
        handles=[
            Patch(facecolor='white', edgecolor=colour, linewidth=2.5, label=words)
            for colour, words in legend.values()
        ],
        loc='upper left',
        bbox_to_anchor=(x, y - 0.62 / height),
        ncols=len(legend),
        frameon=False,
        fontsize=9,
        borderaxespad=0,
        borderpad=0,
        handlelength=1.2,
    )
