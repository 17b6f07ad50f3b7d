# SPDX-License-Identifier: Apache-2.0
"""What the datasets of image files with multi-label annotation have in common."""

from collections.abc import Callable, Sequence

from mmpretrain.datasets import MultiLabelDataset

from .annotation_cache import Annotation, AnnotationCache
from .annotation_files import check_data_prefix, read_classes, to_local
from .image_paths import ImagePaths


class LabelledImages(MultiLabelDataset):
    """Base of the datasets that read labels of image files from annotation files.

    Each item holds ``img_path`` (str) and ``gt_label`` (list[int], the indices of the
    present labels, sorted, without repeats), in the order of the annotation. Image
    files are not opened before they are used.

    Args:
        ann_file (str): The annotation file, relative to ``data_root`` or absolute.
        data_root (str): The root of relative paths. Defaults to ''.
        data_prefix (str | dict): The folder of the images, as a string or as
            ``dict(img_path=...)``. Defaults to ''.
        metainfo (dict, optional): Meta information. ``metainfo['classes']`` works like
            ``classes``. Defaults to None.
        classes (str | Sequence[str], optional): The names of the labels in the order of
            their index, or the path of a file with one name per line. Defaults to None.
        allow_outside (bool): Whether paths of images in the annotation may lead out of
            a folder that ``data_root`` and ``data_prefix`` name: absolute paths and
            those with ``..``. Defaults to False.
        cache_dir (str, optional): A folder to keep parsed annotation in, see
            :class:`AnnotationCache`. Defaults to None, which keeps nothing.
        **kwargs: Other keyword arguments of
            :class:`mmpretrain.datasets.BaseDataset`: ``pipeline``, ``test_mode``,
            ``indices``, ``serialize_data``, ``lazy_init``, ``max_refetch``,
            ``filter_cfg``.
    """

    def __init__(
        self,
        ann_file: str,
        data_root: str = '',
        data_prefix: str | dict = '',
        metainfo: dict | None = None,
        classes: str | Sequence[str] | None = None,
        cache_dir: str | None = None,
        allow_outside: bool = False,
        **kwargs,
    ) -> None:
        check_data_prefix(data_prefix)
        self.cache_dir = cache_dir
        self.allow_outside = allow_outside
        super().__init__(
            ann_file=to_local(ann_file),
            data_root=to_local(data_root),
            data_prefix=to_local(data_prefix),
            metainfo=metainfo,
            classes=read_classes(classes),
            **kwargs,
        )

    def fetch(
        self, options: dict, files: Sequence[str], read: Callable[[], Annotation]
    ) -> Annotation:
        """Take annotation from the cache, or read and keep it.

        Args:
            options (dict): All options that change what is read, apart from the folder
                of the images.
            files (Sequence[str]): Paths of all files that are read.
            read (Callable): Reads the annotation.

        Returns:
            tuple[list[dict], Sequence[str]]: One dict per image, and the names of the
            classes.
        """
        options = dict(
            img_prefix=self.img_prefix, allow_outside=self.allow_outside, **options
        )
        return AnnotationCache(self.cache_dir).fetch(type(self), options, files, read)

    def image_paths(self, where: str | None = None) -> ImagePaths:
        """What joins the folder of the images and their paths in the annotation.

        Args:
            where (str, optional): The annotation, for errors. Defaults to None:
                ``ann_file``.
        """
        return ImagePaths(self.img_prefix, self.allow_outside, where or self.ann_file)
