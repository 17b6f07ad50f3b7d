# SPDX-License-Identifier: Apache-2.0
"""Several views of an image, with fewer copies."""

import copy

from mmpretrain.datasets import MultiView
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SharedMultiView(MultiView):
    """MMPretrain's ``MultiView``, with fewer copies.

    ``MultiView`` makes a deep copy of everything for every view. Here the image is
    copied for every view but the last, which takes the original, and the other entries
    are copied one level deep: a view may change an array or a list, but not the items
    of a list. As in ``MultiView``, the views draw random numbers one after the other,
    and only ``img`` is kept of them: with the same seed the images are the same.

    A transform that is the same for all views and random in none, such as ``Resize`` to
    a fixed size, belongs before this one, where it runs once.

    Without copies, transforms that write into the image, such as MMPretrain's
    ``RandomErasing``, would write into that of another view.

    **Required Keys:**

    - img

    **Modified Keys:**

    - img (list[np.ndarray]): One image per view.

    Args:
        transforms (list[list[dict | callable]]): Pipelines.
        num_views (int | list[int]): The number of views of each pipeline.
    """

    def transform(self, results: dict) -> dict:
        """Make the views.

        Args:
            results (dict): Result dict of the pipeline so far.

        Returns:
            dict: ``results``, whose ``img`` is a list with one image per view.
        """
        image = results.pop('img')
        images = []
        for number, pipeline in enumerate(self.transforms, start=1):
            view = {key: copy.copy(value) for key, value in results.items()}
            last = number == len(self.transforms)
            view['img'] = image if last else copy.deepcopy(image)
            images.append(pipeline(view)['img'])
        results['img'] = images
        return results
