# SPDX-License-Identifier: Apache-2.0
"""The page, made of gradio's parts."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..image_suffixes import IMAGE_SUFFIXES
from .panels import PanelWriter
from .viewer import Seen

if TYPE_CHECKING:
    import gradio

FOLDER = Path(__file__).parent
QUEUE = 50
"""Photographs that may wait; more are refused."""
SESSIONS = 100
"""Photographs that are remembered, one for each open page; the oldest goes first."""
FORGET = 300
"""Seconds after which files of photographs are deleted."""
REMEMBER = 3600
"""Seconds for which an open or closed page keeps its photograph in memory."""


def import_gradio() -> None:
    """Import gradio, told to ask nobody on the network.

    Raises:
        ImportError: If it is not installed.
    """
    os.environ['GRADIO_ANALYTICS_ENABLED'] = 'False'
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "The page needs gradio: run `pip install 'mlcl_plugin[web]'`, or `pip "
            "install 'gradio>=6.31,<7'`."
        ) from error


def make_page(writer: PanelWriter, example: Path | None = None) -> 'gradio.Blocks':
    """Make the page.

    Args:
        writer (PanelWriter): Writes what changes.
        example (Path, optional): A photograph to try. Defaults to None.

    Returns:
        gradio.Blocks: The page.

    Raises:
        ImportError: If gradio is not installed.
    """
    import_gradio()
    import gradio as gr

    own = writer.viewer.decisions.thresholds
    middle = round(float(np.clip(np.median(own), 0, 1)), 2)

    def opened(path: str | None, threshold: float | None) -> tuple:
        seen, panels = writer.opened(None if path is None else Path(path), threshold)
        return seen, None, *panels

    def clicked(
        seen: Seen | None, threshold: float | None, event: gr.EventData
    ) -> tuple:
        label = event._data.get('label') if isinstance(event._data, dict) else None
        # What a browser sends may be anything.
        if type(label) is not int or not 0 <= label < len(writer.viewer.classes):
            label = None
        if seen is None:
            return None, *writer.empty()
        return label, *writer.show(seen, threshold, label)

    def moved(seen: Seen | None, label: int | None, value: float) -> tuple:
        threshold = float(np.clip(value, 0, 1))
        text = '' if seen is None else writer.labels(seen, threshold, label)
        return threshold, text

    def put_back(seen: Seen | None, label: int | None) -> tuple:
        text = '' if seen is None else writer.labels(seen, None, label)
        return None, middle, text

    def part(name: str, **kwargs: Any) -> Any:
        return gr.HTML(elem_id=name, elem_classes=['mlcl'], **kwargs)

    def script(name: str) -> str:
        return (FOLDER / name).read_text(encoding='utf-8')

    with gr.Blocks(
        title='Labels of a photograph',
        analytics_enabled=False,
        delete_cache=(60, FORGET),
    ) as page:
        seen = gr.State(None, time_to_live=REMEMBER)
        label, threshold = gr.State(None), gr.State(None)
        gr.HTML('<h1>Labels of a photograph</h1>', elem_id='heading')
        with gr.Row():
            with gr.Column(min_width=300):
                file = gr.File(
                    label='Photograph',
                    file_types=list(IMAGE_SUFFIXES),
                    height=140,
                    elem_id='upload',
                )
                if example is not None:
                    button = gr.Button('Try an example', elem_id='example', size='sm')
                message = part('message', value=writer.empty().message)
                picture = part('picture', js_on_load=script('picture.js'))
                neighbours = part('neighbours', js_on_load=None)
            with gr.Column(min_width=300):
                slider = gr.Slider(
                    0,
                    1,
                    middle,
                    step=0.01,
                    label='One threshold for all labels',
                    elem_id='threshold',
                )
                back = gr.Button(
                    "Use each label's own threshold", elem_id='own', size='sm'
                )
                labels = part('labels', js_on_load=script('labels.js'))
        panels = [message, picture, neighbours, labels]
        # The model takes one photograph at a time; what needs it shares one queue.
        model = dict(
            concurrency_id='model', concurrency_limit=1, api_visibility='private'
        )
        file.upload(opened, [file, threshold], [seen, label, *panels], **model)
        file.clear(lambda: opened(None, None), None, [seen, label, *panels], **model)
        labels.click(clicked, [seen, threshold], [label, *panels], **model)
        # Computes next to nothing, so that it need not wait behind photographs.
        quick = dict(api_visibility='private', queue=False, show_progress='hidden')
        slider.input(
            moved,
            [seen, label, slider],
            [threshold, labels],
            trigger_mode='always_last',
            **quick,
        )
        back.click(put_back, [seen, label], [threshold, slider, labels], **quick)
        if example is not None:
            button.click(
                lambda value: opened(str(example), value),
                threshold,
                [seen, label, *panels],
                **model,
            )
    page.queue(max_size=QUEUE)
    page.state_session_capacity = SESSIONS
    return page
